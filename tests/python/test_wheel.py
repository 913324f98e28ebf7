"""The package as pip makes it: a wheel over the library that is built already, and a source archive that is complete."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from conftest import MODEL, ROOT

pytest.importorskip("scikit_build_core", reason="scikit-build-core is not installed")


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_wheel_holds_module_types_and_program(build, tmp_path):
    if not (build / "librunnel.a").exists() or not (build / "python").exists():
        pytest.skip("no module in this build")
    launcher = "cmake.define.CMAKE_CXX_COMPILER_LAUNCHER=ccache"
    cache = ["--config-settings", launcher] if shutil.which("ccache") else []
    run(sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path,
        "--config-settings", f"build-dir={tmp_path / 'build'}",
        "--config-settings", f"cmake.define.RUNNEL_BUILD_DIR={build.resolve()}", *cache)
    (wheel,) = tmp_path.glob("runnel-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("__init__.py", "_engine.pyi", "py.typed", "lm_eval.py", "bin/runnel"):
        assert f"runnel/{name}" in names
    assert "runnel-lm-eval.pth" in names and "_runnel_lm_eval.py" in names
    assert not [name for name in names if "/src/" in name or name.startswith("runnel/include")]
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", tmp_path / "site", wheel)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    environment.pop("RUNNEL", None)
    script = f"import runnel; m = runnel.Model({str(MODEL)!r}); print(runnel.__file__, m.stream().write(5))"
    assert str(tmp_path / "site") in run(sys.executable, "-c", script, cwd=tmp_path, env=environment)
    assert "0.1.0" in run(sys.executable, "-m", "runnel", "--version", cwd=tmp_path, env=environment)
    assert (tmp_path / "site/bin/runnel").exists()
    pytest.importorskip("auditwheel", reason="auditwheel is not installed")
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    run(sys.executable, "-m", "auditwheel", "repair", "-w", tmp_path / "repaired", wheel, env={**os.environ, "PATH": path})
    (repaired,) = (tmp_path / "repaired").glob("runnel-*manylinux_2_*.whl")
    brought = [name for name in zipfile.ZipFile(repaired).namelist() if name.startswith("runnel.libs/")]
    assert any("libfmt" in name for name in brought) and any("libssl" in name for name in brought)
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", tmp_path / "any", repaired)
    environment["PYTHONPATH"] = str(tmp_path / "any")
    assert "0.1.0" in run(sys.executable, "-m", "runnel", "--version", cwd=tmp_path, env=environment)


def test_the_source_archive_is_complete(tmp_path):
    script = ("import os, sys; os.chdir(sys.argv[1])\n"
              "from scikit_build_core.build import build_sdist; print(build_sdist(sys.argv[2]))")
    name = run(sys.executable, "-c", script, ROOT, tmp_path).splitlines()[-1]
    with tarfile.open(tmp_path / name) as archive:
        names = {member.split("/", 1)[-1] for member in archive.getnames()}
    for path in subprocess.run(["git", "ls-files", "src", "include", "cmake", "python", "CMakeLists.txt", "LICENSE"],
                               cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        assert path in names, path
    assert not [name for name in names if name.startswith("build")]
