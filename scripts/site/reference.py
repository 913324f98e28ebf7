"""A reference from headers that explain themselves: comments become text, declarations stay code, with the shapes and
units that stand beside them."""

import re
from pathlib import Path

NAME = re.compile(r"\b(?:class|struct|enum class|enum)\s+(\w+)")
FUNCTION = re.compile(r"(?:^|[\s*&])(~?\w+)\s*\(")


def _plain(text: str) -> str:
    """C's comments as C++'s, so that one reader is enough."""
    lines, inside = [], False
    for line in text.splitlines():
        stripped = line.strip()
        if not inside and stripped.startswith("/*"):
            inside = "*/" not in stripped
            body = stripped[2:].removesuffix("*/") if not inside else stripped[2:]
            lines.append(line[:len(line) - len(line.lstrip())] + "// " + body.strip())
        elif inside:
            inside = "*/" not in stripped
            body = stripped.removesuffix("*/").lstrip("*")
            if body.strip() or inside:
                lines.append("// " + body.removeprefix(" ").rstrip())
        else:
            lines.append(line)
    return "\n".join(lines)


def _declarations(text: str) -> str:
    """Without what is there for the compiler alone: the preprocessor's lines, namespaces, the C++ in C."""
    text = re.sub(r"^// clang-format o.*$", "", text, flags=re.M)
    text = re.sub(r'^extern "C" \{$|^\}  // namespace.*$|^namespace [\w:]+ \{$', "", text, flags=re.M)
    text = re.sub(r"#ifdef __cplusplus\s+(\}\s+)?#endif", "", text)
    return re.sub(r"^#(?!define RUNNEL_NUL).*$", "", text, flags=re.M)


def _blocks(text: str):
    """(comment, code) in order: a comment with the code that follows it up to a blank line or the next comment."""
    comment, code = [], []
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        is_comment = stripped.startswith("//")
        depth = "\n".join(code).count("{") - "\n".join(code).count("}")
        if depth > 0:
            code.append(line)  # a struct, a class, an enum: whole
        elif not stripped or (is_comment and code):
            if comment or code:
                yield comment, code
            comment, code = ([stripped[2:].removeprefix(" ")] if is_comment else []), []
        elif is_comment:
            comment.append(stripped[2:].removeprefix(" "))
        else:
            code.append(line)
    if comment or code:
        yield comment, code


def _is_noise(code: list) -> bool:
    return code[:1] == ["struct Internals;"] or all(not line.strip() or line.startswith(("#", "namespace", "}", "extern")) or
               re.fullmatch(r"(class|struct) \w+;", line.strip()) for line in code)


def _escaped(line: str) -> str:
    parts = line.split("`")  # every second one is code
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([*_\[\]])", r"\\\1", parts[i]).replace("<", "&lt;")
    return "`".join(parts)


def _text(comment: list) -> str:
    """A comment as text; what is indented in it is code."""
    lines, inside = [], False
    for line in comment:
        is_code = line.startswith("  ")
        if is_code != inside and not (inside and not line.strip()):
            lines += ["", "```cpp"] if is_code else ["```", ""]
            inside = is_code
        lines.append(line[2:] if inside else _escaped(line))
    return "\n".join(lines + (["```"] if inside else []))


def _names(code: str) -> str:
    found = NAME.search(code)
    if found and "typedef" not in code.split("{")[0]:
        behind = re.split(r"^\}[^\n]*;|^[^{]*\{[^\n]*\};", code, flags=re.M)[-1] if "}" in code else ""
        return ", ".join(dict.fromkeys([found.group(1), *FUNCTION.findall(re.sub(r"//.*", "", behind))]))
    typedef = re.search(r"\}\s*(\w+);", code) or re.match(r"\s*typedef .*?\(?\*?(\w+)\)?(?:\(.*\))?;", code)
    if code.lstrip().startswith("typedef") and typedef:
        functions = re.findall(r"RUNNEL_API[^(]*?\b(runnel_\w+)\s*\(", code)
        return ", ".join([typedef.group(1), *functions])
    functions = [name for name in FUNCTION.findall(code.split("{")[0]) if name not in ("defined", "if")]
    return ", ".join(dict.fromkeys(functions))


def _body(code: str) -> str:
    """What a class shows, as declarations of their own."""
    body = code[code.index("{") + 1:code.rindex("}")]
    body = re.sub(r"^ (?:private|protected):.*?(?=^ public:|\Z)", "", body, flags=re.S | re.M)
    body = re.sub(r"^ public:$", "", body, flags=re.M)
    return "\n".join(line.removeprefix("  ") for line in body.splitlines())


def _sections(text: str, language: str, level: int, owner: str):
    for comment, code in _blocks(text):
        joined = "\n".join(code).rstrip()
        title = re.fullmatch(r"-+ (.*?) -+", comment[0].strip()) if comment else None
        if title:
            yield f"## {title.group(1)}"
            continue
        about = _text(comment)
        if _is_noise(code):
            if about and not code:
                yield about
            continue
        name = _names(joined)
        is_class = re.match(r"class \w+ .*\{$|class \w+ \{$", code[0]) is not None
        yield f"{'#' * level} {owner}{name}" if name else ""
        yield about
        if is_class:
            yield from _sections(_body(joined), language, level + 1, f"{name}::")
        else:
            yield f"```{language}\n{joined}\n```"


def page_of_headers(title: str, headers: list) -> str:
    language = "c" if title.startswith("C ") else "cpp"
    parts = [f"# {title}", "Made from the headers. Shapes stand in brackets, the slowest dimension first; units stand in "
             "the names or beside them."]
    for header in map(Path, headers):
        parts += [f"## {header.name}", f"[`include/runnel/{header.name}`](include/runnel/{header.name})"]
        parts += _sections(_declarations(_plain(header.read_text())), language, 3, "")
    return "\n\n".join(part for part in parts if part) + "\n"
