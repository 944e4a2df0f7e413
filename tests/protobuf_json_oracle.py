"""Random messages and their JSON by Google's Python library, and its judgement of ours.

make SEED N FILE     writes lines: type, packed message in hex, its JSON
check FILE ANSWERS   reads these, and of each line our JSON and our message of Google's JSON in hex
"""

import random
import struct
import sys

sys.path.insert(0, sys.argv[1])
import json_kinds_pb2
import json_old_pb2
from google.protobuf import any_pb2, duration_pb2, json_format, struct_pb2, timestamp_pb2

TYPES = {"kinds": json_kinds_pb2.Kinds, "old": json_old_pb2.Old}
WORDS = ["", "a", "id", "käse", "€", "😀", "\n", '"', "\\", "/", "\x1f", "\x7f", "<b>", "sixteen bytes..."]
PATHS = ["a", "b_c", "d.e_f", "h1", "foo_bar.baz_qux"]


def integer(bits, signed):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    few = [low, high, 0, 1, low + 1]
    return random.choice(few) if random.random() < 0.3 else random.randint(low, high) >> random.choice([0, 8, bits - 3])


def real(width, finite=False):
    while True:
        if random.random() < 0.5:
            value = random.choice([0.0, -0.0, 0.1, 1.5, 1e21, 1e-7, 123456789.0, 3.0])
            if not finite and random.random() < 0.2:
                value = random.choice([float("nan"), float("inf"), float("-inf")])
        else:
            value = struct.unpack("d", random.randbytes(8))[0]
        if width == "f":
            if random.random() < 0.5:
                value = struct.unpack("f", random.randbytes(4))[0]
            else:
                try:
                    value = struct.unpack("f", struct.pack("f", value))[0]
                except OverflowError:
                    continue
        if value != value:
            value = float("nan")
        if not finite or abs(value) < float("inf"):
            return value


def text():
    return "".join(random.choice(WORDS) for _ in range(random.randint(0, 4)))


def scalar(field):
    kind = field.type
    if kind in (field.TYPE_INT32, field.TYPE_SINT32, field.TYPE_SFIXED32):
        return integer(32, True)
    if kind in (field.TYPE_INT64, field.TYPE_SINT64, field.TYPE_SFIXED64):
        return integer(64, True)
    if kind in (field.TYPE_UINT32, field.TYPE_FIXED32):
        return integer(32, False)
    if kind in (field.TYPE_UINT64, field.TYPE_FIXED64):
        return integer(64, False)
    if kind == field.TYPE_FLOAT:
        return real("f")
    if kind == field.TYPE_DOUBLE:
        return real("d")
    if kind == field.TYPE_BOOL:
        return random.random() < 0.5
    if kind == field.TYPE_STRING:
        return text()
    if kind == field.TYPE_BYTES:
        return random.randbytes(random.randint(0, 10))
    numbers = [value.number for value in field.enum_type.values]
    known = field.enum_type.full_name == "google.protobuf.NullValue" or field.file.syntax == "proto2"
    return random.choice(numbers) if known or random.random() < 0.8 else integer(32, True)


def fill_value(value, depth):
    kind = random.randint(0, 5 if depth > 0 else 3)
    if kind == 0:
        value.null_value = 0
    elif kind == 1:
        value.number_value = real("d", finite=True)
    elif kind == 2:
        value.string_value = text()
    elif kind == 3:
        value.bool_value = random.random() < 0.5
    elif kind == 4:
        value.struct_value.SetInParent()
        fill_struct(value.struct_value, depth - 1)
    else:
        value.list_value.SetInParent()
        fill_list(value.list_value, depth - 1)


def fill_struct(message, depth):
    for _ in range(random.randint(0, 3)):
        fill_value(message.fields[text()], depth)


def fill_list(message, depth):
    for _ in range(random.randint(0, 3)):
        fill_value(message.values.add(), depth)


def fill_any(message, depth):
    if depth <= 0 or random.random() < 0.1:
        return
    inner = random.choice([json_kinds_pb2.Leaf, json_kinds_pb2.Kinds, duration_pb2.Duration, any_pb2.Any,
                           struct_pb2.Struct, struct_pb2.Value, timestamp_pb2.Timestamp, json_old_pb2.Old])()
    fill(inner, depth - 1)
    message.Pack(inner, deterministic=True)


def fill_known(message, depth):
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = random.choice([0, -62135596800, 253402300799, random.randint(-62135596800, 253402300799)])
        message.nanos = random.choice([0, 5000000, 999999999, 1000, random.randint(0, 999999999)])
    elif name == "google.protobuf.Duration":
        sign = random.choice([-1, 1])
        message.seconds = sign * random.choice([0, 1, 315576000000, random.randint(0, 315576000000)])
        message.nanos = sign * random.choice([0, 5000000, 999999999, 1000, random.randint(0, 999999999)])
    elif name == "google.protobuf.FieldMask":
        message.paths.extend(random.sample(PATHS, random.randint(0, 3)))
    elif name == "google.protobuf.Struct":
        fill_struct(message, depth)
    elif name == "google.protobuf.Value":
        fill_value(message, depth)
    elif name == "google.protobuf.ListValue":
        fill_list(message, depth)
    elif name == "google.protobuf.Any":
        fill_any(message, depth)
    else:
        return False
    return True


def fill_map(message, field, depth):
    key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
    entries = getattr(message, field.name)
    for _ in range(random.choice([1, 2, 20])):
        if value.message_type:
            fill(entries[scalar(key)], depth - 2)
        else:
            entries[scalar(key)] = scalar(value)


def fill(message, depth):
    message.SetInParent()
    if fill_known(message, depth):
        return
    for field in message.DESCRIPTOR.fields:
        needed = field.label == field.LABEL_REQUIRED
        if field.name == "many_null":
            continue  # the library does not read what it writes of these
        if not needed and random.random() < (0.7 if depth > 0 else 0.95):
            continue
        if field.label == field.LABEL_REPEATED:
            if field.message_type and field.message_type.GetOptions().map_entry:
                if depth > 1:
                    fill_map(message, field, depth)
                continue
            for _ in range(random.randint(1, 6)):
                if field.message_type:
                    if depth > 0:
                        fill(getattr(message, field.name).add(), depth - 1)
                else:
                    getattr(message, field.name).append(scalar(field))
        elif field.message_type:
            if depth > 0:
                fill(getattr(message, field.name), depth - 1)
        else:
            setattr(message, field.name, scalar(field))


def normalize(message):
    """Any holds bytes, in which a map's entries have an order."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Any" and message.type_url:
        inner = json_format._CreateMessageFromTypeUrl(message.type_url, None)
        inner.ParseFromString(message.value)
        normalize(inner)
        message.value = inner.SerializeToString(deterministic=True)
        return message
    for field, value in message.ListFields():
        if not field.message_type:
            continue
        if field.label != field.LABEL_REPEATED:
            normalize(value)
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type:
                for key in value:
                    normalize(value[key])
        else:
            for item in value:
                normalize(item)
    return message


def same(a, b):
    return normalize(a).SerializeToString(deterministic=True) == normalize(b).SerializeToString(deterministic=True)


def make(seed, n, path):
    random.seed(seed)
    with open(path, "w", encoding="utf-8") as out:
        for i in range(n):
            name = "old" if i % 5 == 0 else "kinds"
            message = TYPES[name]()
            fill(message, random.randint(0, 4))
            said = json_format.MessageToJson(message, indent=None)
            defaults = i % 7 == 0 and name == "kinds" and "json_old" not in said  # proto2 has presence
            said = json_format.MessageToJson(message, indent=None, preserving_proto_field_name=i % 3 == 0,
                                             including_default_value_fields=defaults,
                                             use_integers_for_enums=i % 4 == 0)
            assert same(json_format.Parse(said, TYPES[name]()), message), said
            out.write(f"{name} {message.SerializeToString().hex() or '-'} {said}\n")


def check(path, answers):
    wrong = n = 0
    with open(path, encoding="utf-8") as asked, open(answers, encoding="utf-8") as got:
        for line in asked:
            name, packed, said = line.rstrip("\n").split(" ", 2)
            ours, read = got.readline().rstrip("\n"), got.readline().rstrip("\n")
            message = TYPES[name].FromString(bytes.fromhex(packed.strip("-")))
            back = TYPES[name].FromString(bytes.fromhex(read))
            n += 1
            try:
                written = json_format.Parse(ours, TYPES[name]())
            except json_format.ParseError as error:
                print(f"refused: {error}\n  {ours}")
                wrong += 1
                continue
            if not same(written, message):
                print(f"written wrong:\n  {ours}\n  {said}")
                wrong += 1
            if not same(back, message):
                print(f"read wrong:\n  {said}\n  {json_format.MessageToJson(back, indent=None)}")
                wrong += 1
    print(f"{n} messages, {wrong} wrong")
    return 1 if wrong or n == 0 or got_more(answers, 2 * n) else 0


def got_more(answers, n):
    with open(answers, encoding="utf-8") as got:
        return len(got.read().split("\n")) != n + 1


if sys.argv[2] == "make":
    make(int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
else:
    sys.exit(check(sys.argv[3], sys.argv[4]))
