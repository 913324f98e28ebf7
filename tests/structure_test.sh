#!/usr/bin/env bash
# The shape of the sources: who may include whom, third-party headers, file lengths, format.
set -euo pipefail
faults=0
fault() {
  echo "$*" >&2
  faults=$((faults + 1))
}

# What the files of a folder may include besides their own folder, base and the public header.
declare -A allowed=(
  [base]="" [kernels]="" [gguf]="" [sampling]="" [jinja]="" [grammar]=""
  [tokenizer]="gguf"
  [stream]="kernels"
  [device]="kernels stream sampling"
  [model]="device kernels stream gguf"
  [hf]="gguf tokenizer"
  [engine]="hf model device kernels stream gguf tokenizer sampling"
  [chat]="jinja grammar engine model device kernels stream gguf tokenizer sampling"
  [eval]="engine model device kernels stream gguf tokenizer sampling"
  [serve]="chat engine model device kernels stream gguf tokenizer sampling"
  [c]="eval chat engine model device kernels stream gguf tokenizer sampling"
  [cli]="eval serve chat engine model device kernels stream gguf tokenizer sampling"
)
for folder in src/*/; do
  name=$(basename "$folder")
  [[ -v allowed[$name] ]] || { fault "src/$name: a folder without a place in the order of includes"; continue; }
  while IFS=: read -r file line include; do
    target=${include%%/*}
    case " $name base runnel ${allowed[$name]} " in
      *" $target "*) ;;
      *) fault "$file:$line: $name may not include \"$include\"" ;;
    esac
  done < <(grep -rnoP '^#include "\K[^"]+' "$folder" --include='*.h' --include='*.cpp' --include='*.inl')
done

# Inside the server: what each of its folders may include of the others. Every one may log.
declare -A allowed_in_serve=(
  [scheduler]="" [store]="" [guard]=""
  [hub]="scheduler store guard"
  [protocols]="hub scheduler store guard"
  [page]="protocols hub"
  [http]="protocols"
  [cluster]="hub store scheduler guard protocols"
)
for folder in src/serve/*/; do
  name=$(basename "$folder")
  [[ -v allowed_in_serve[$name] ]] || { fault "src/serve/$name: a folder without a place in the order of includes"; continue; }
  while IFS=: read -r file line include; do
    target=$(cut -d/ -f2 <<<"$include")
    case " $name log.h ${allowed_in_serve[$name]} " in
      *" $target "*) ;;
      *) fault "$file:$line: serve/$name may not include \"$include\"" ;;
    esac
  done < <(grep -rnoP '^#include "\Kserve/[^"]+' "$folder" --include='*.h' --include='*.cpp')
done
with_boost=$(grep -rlE '#include <boost/' src | wc -l)
[[ $with_boost -le 2 ]] || fault "src: $with_boost files include Boost, want at most 2, for they compile slowly"

# Which devices there are is known to src/device alone.
while IFS=: read -r file line include; do
  [[ $file == src/device/* ]] || fault "$file:$line: only src/device may include \"$include\""
done < <(grep -rnoP '^#include "\K(device/(cpu|opencl)/[^"]+)' src --include='*.h' --include='*.cpp' --include='*.inl')

# Angle brackets in headers: the standard library; with json_fwd, a forward declaration of JSON; OpenCL's types in the
# folder that is all about them.
system='CL/cl(_ext)?\.h|std(def|int)\.h|sys/[a-z]+\.h|unistd\.h|immintrin\.h|arm_neon\.h|cpuid\.h'
while IFS=: read -r file line header; do
  fault "$file:$line: <$header> in a header: third-party headers belong in .cpp files"
done < <(grep -rnoP '^#include <\K[^>]+' src include --include='*.h' --include='*.inl' |
  grep -vP ":([a-z_0-9]+|$system|nlohmann/json_fwd\.hpp)\$")
while IFS=: read -r file line header; do
  [[ $header == runnel/* ]] || fault "$file:$line: the public header may include std only: $header"
done < <(grep -rnoP '^#include ["<]\K[^">]+' include | grep -vP ':([a-z_0-9]+|std(def|int)\.h)$')

# Length of files: about 500 lines, so something is wrong at 650.
while read -r lines file; do
  [[ $file == total || $lines -le 650 ]] || fault "$file: $lines lines, want about 500, at most 650"
done < <(find src include tests bench fuzz examples \( -name '*.cpp' -o -name '*.h' -o -name '*.inl' \) -print0 |
  xargs -0 wc -l)

if command -v clang-format-14 >/dev/null; then
  while IFS= read -r -d '' file; do
    clang-format-14 --dry-run -Werror "$file" 2>/dev/null || fault "$file: not formatted (make format)"
  done < <(find src include tests bench fuzz examples \( -name '*.cpp' -o -name '*.h' -o -name '*.inl' \) -print0)
else
  echo "clang-format-14 is not there: format not checked"
fi

[[ $faults -eq 0 ]] || { echo "$faults faults" >&2; exit 1; }
echo "structure: as it should be"
