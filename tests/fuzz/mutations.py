"""Mutations of files: damaged bytes, hostile fields of headers, and hostile words in text."""

import json
import struct

HOSTILE_NUMBERS = (0, -1, 1, 2, 7, 9, 255, 1000, 32767, -32768, 2**31 - 1, -(2**31))
HOSTILE_FLOATS = (0.0, -1.0, 1e-30, 1e30, -1e30, float("nan"), float("inf"), float("-inf"))
HOSTILE_WORDS = (
    "", " ", "\t", "\n", "\0", "-1", "0", "1e999", "nan", "inf", "99999999999999999999", "../../x", "/etc/passwd",
    "[/x]", "$x$", "=1+1", "${oc.env:HOME}", "!!python/object:os.system", "*a", "&a", "{", "}", "[", "]", ":", "\ud800",
    "é", "\x1b[31m", "x" * 5000,
)  # fmt: skip

NIFTI_FIELDS = {
    "sizeof_hdr": (0, "i"), "dim": (40, "h", 8), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "f", 8),
    "vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f"), "xyzt_units": (123, "B"),
    "qform_code": (252, "h"), "sform_code": (254, "h"), "quatern": (256, "f", 6), "srow": (280, "f", 12),
    "magic": (344, "B", 4),
}  # fmt: skip
"""Offset, type and number of the fields of a NIfTI-1 header (nifti1.h)."""


def damaged(data, random):
    """Bytes with a part changed, cut off, doubled or put in."""
    data = bytearray(data)
    kind = random.integers(5)
    at = int(random.integers(max(1, len(data))))
    if kind == 0:
        for _ in range(int(random.integers(1, 6))):
            data[int(random.integers(len(data)))] = int(random.integers(256))
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + int(random.integers(1, 40))]
    elif kind == 3:
        data[at:at] = random.bytes(int(random.integers(1, 40)))
    else:
        data += bytes(data[at:])
    return bytes(data)


def nifti_header(data, random):
    """A NIfTI file with a hostile value in one to three fields of its header."""
    data = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        offset, kind, *count = NIFTI_FIELDS[random.choice(list(NIFTI_FIELDS))]
        offset += struct.calcsize(kind) * int(random.integers(count[0] if count else 1))
        if kind == "f":
            value = random.choice(HOSTILE_FLOATS)
        else:
            value = int(random.choice(HOSTILE_NUMBERS))
            low, high = {"h": (-(2**15), 2**15 - 1), "i": (-(2**31), 2**31 - 1), "B": (0, 255)}[kind]
            value = min(max(value, low), high)
        struct.pack_into("<" + kind, data, offset, value)
    return bytes(data)


def text(data, random):
    """A text with a word or a line replaced by a hostile one, doubled or left out."""
    separators = random.choice(["\n", "\t", " ", ":", "=", ","])
    parts = data.decode("utf-8", "replace").split(separators)
    at = int(random.integers(len(parts)))
    kind = random.integers(3)
    if kind == 0:
        parts[at] = str(random.choice(HOSTILE_WORDS))
    elif kind == 1:
        parts.insert(at, parts[at])
    else:
        del parts[at]
    return separators.join(parts).encode("utf-8", "surrogatepass")


def json_values(data, random):
    """A JSON document with one value, at any depth, replaced or left out."""
    content = json.loads(data)
    places = []

    def walk(node):
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(items):
            places.append((node, key))
            walk(value)

    walk(content)
    node, key = places[int(random.integers(len(places)))]
    values = [
        None,
        True,
        -1,
        0,
        1e9,
        10**30,
        1e400,
        "x",
        "../../x",
        [],
        {},
        [[[]]],
        {"a": 1},
        "builtins.exec",
        "1" * 4000,
    ]
    if random.integers(6) == 0:
        del node[key]
    else:
        node[key] = values[int(random.integers(len(values)))]
    return json.dumps(content).encode()
