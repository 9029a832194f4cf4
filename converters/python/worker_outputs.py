"""What a check says of a model's outputs, alone and beside the original's."""


def describe(numpy, name, value):
    return {
        "name": name,
        "shape": list(value.shape),
        "type": str(value.dtype),
        "finite": finite(numpy, value),
    }


def finite(numpy, value):
    return bool(numpy.isfinite(value).all()) if value.dtype.kind == "f" else True


def name_of(port):
    return port.any_name if port.names else f"output {port.index}"


def compare(numpy, expected, actual):
    one = expected.astype(numpy.float64).ravel()
    other = actual.astype(numpy.float64).ravel()
    if one.size == 0:
        return {}
    norms = numpy.linalg.norm(one) * numpy.linalg.norm(other)
    cosine = float(one @ other / norms) if norms > 0 else float(numpy.array_equal(one, other))
    return {
        "maxDifference": float(numpy.abs(one - other).max()),
        "cosine": cosine,
        "magnitude": float(numpy.abs(one).max()),
    }


def first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
