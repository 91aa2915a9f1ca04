"""What include/seamount.h declares, as the compiler's preprocessor sees it: functions, structs with their fields, enumerators."""
import re
import subprocess


def expanded(compiler, header):
    """The header without comments and macros, and without what the system's headers bring in."""
    text = subprocess.run([compiler, "-E", "-std=c11", header], check=True, capture_output=True, text=True).stdout
    own, keep = [], False
    for line in text.splitlines():
        marker = re.match(r'# \d+ "([^"]*)"', line)
        if marker:
            keep = marker.group(1) == header
        elif keep:
            own.append(line)
    return "\n".join(own)


def functions(text):
    flat = re.sub(r"__attribute__\(\(.*?\)\)\)", "@", text)
    return sorted(re.findall(r"@\s[^;@{}]*?\b(smt_\w+)\(", flat))


def fields(body):
    """Names in the order of declaration: "const char *id, *name; float x[4]; void (*fn)(int);"."""
    names = []
    for declaration in body.split(";"):
        pointer = re.search(r"\(\*(\w+)\)", declaration)
        for part in [pointer.group(1)] if pointer else declaration.split(","):
            name = re.search(r"(\w+)\s*(\[[^\]]*\]\s*)*$", part.strip())
            if name:
                names.append(name.group(1))
    return names


def structs(text):
    return {m.group(2): fields(m.group(1)) for m in re.finditer(r"typedef struct \w+ \{([^{}]*)\} (\w+);", text)}


def enumerators(text):
    names = []
    for body in re.findall(r"typedef enum \w+ \{([^{}]*)\}", text):
        names += [part.split("=")[0].strip() for part in body.split(",") if part.strip()]
    return names
