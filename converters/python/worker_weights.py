"""What the constants of a model are made of, which tells whether it became what was asked for."""

# Element types of OpenVINO that hold compressed weights, by what modeldl calls the precision.
COMPRESSED = {"int8": ("i8", "u8"), "int4": ("i4", "u4"), "nf4": ("nf4",), "mxfp4": ("f4e2m1",), "cb4": ("u4",)}


def weight_bytes(model):
    """Bytes of constants by element type."""
    found = {}
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            name = node.get_element_type().get_type_name()
            found[name] = found.get(name, 0) + node.get_byte_size()
    return found


def quantizers(model):
    """Number of layers with quantized inputs."""
    return sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def none_compressed(precision, held):
    """What to say when no weights are of the precision, though nothing failed; `held` are the element types there are."""
    instead = "; its weights are int8" if any(kind in held for kind in COMPRESSED["int8"]) else ""
    return f"No layer could be compressed to {precision}{instead}"
