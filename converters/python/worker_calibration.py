"""Samples that quantization is calibrated with: images, or arrays by the names of inputs."""

from worker_inputs import described, label, layout_of, names_of
from worker_outputs import first_line
from worker_protocol import Misused


def calibration_samples(numpy, model, given):
    """A list of what samples are made of, and the function that makes one: a list of arrays, one per input."""
    if given["kind"] == "images":
        return image_samples(numpy, model, given)
    return array_samples(numpy, model, given)


def image_samples(numpy, model, given):
    if len(model.inputs) != 1:
        raise Misused(
            f"images feed one input, and the model has {len(model.inputs)}: {described(model)}",
            "give a .npz with an array for each input, named as it is",
        )
    port = model.inputs[0]
    settings = {**stated(model), **given.get("image", {})}
    layout = image_layout(port, settings)
    height, width, colours = image_size(port, layout, settings)
    dtype = port.get_element_type().to_dtype()
    files = given["files"]
    batch = port.partial_shape[layout.index("N")] if "N" in layout else None
    size = batch.get_length() if batch is not None and batch.is_static else 1
    # A model of a fixed batch takes as many at once; the last ones are joined by the first again.
    groups = [[files[(start + i) % len(files)] for i in range(size)] for start in range(0, len(files), size)]

    def one(file):
        pixels = decode(numpy, file, height, width, colours, settings)
        return pixels.transpose(["HWC".index(letter) for letter in layout if letter != "N"])

    def feed(group):
        stacked = [one(file) for file in group]
        value = numpy.stack(stacked, layout.index("N")) if "N" in layout else stacked[0]
        if dtype.kind in "iu":
            limits = numpy.iinfo(dtype)
            value = value.round().clip(limits.min, limits.max)
        return [numpy.ascontiguousarray(value.astype(dtype))]

    return groups, feed


def stated(model):
    """What a model says of its own preprocessing, in the form of OpenVINO's Model API."""
    found = {}
    for key, name, read in (
        ("mean_values", "mean", numbers),
        ("scale_values", "scale", numbers),
        ("pad_value", "pad", lambda text: numbers(text)[0]),
        ("resize_type", "resize", RESIZE_TYPES.get),
    ):
        path = ["model_info", key]
        if not model.has_rt_info(path):
            continue
        try:
            value = read(str(model.get_rt_info(path).value))
        except (ValueError, IndexError):
            continue
        if value is not None:
            found[name] = value
    return found


RESIZE_TYPES = {
    "standard": "standard",
    "crop": "crop",
    "fit_to_window": "fit-to-window",
    "fit_to_window_letterbox": "letterbox",
}


def numbers(text):
    return [float(part) for part in text.replace(",", " ").replace("[", " ").replace("]", " ").split()]


def image_layout(port, settings):
    layout = settings.get("layout", "").upper() or layout_of(port)
    shape = port.partial_shape
    known = shape.rank.is_static
    if layout and set("HWC") <= set(layout) <= set("NHWC") and (not known or shape.rank.get_length() == len(layout)):
        return layout
    raise Misused(
        f"it cannot be told how input {label(port)} {shape} takes images",
        "say it with `--set image-layout=nchw` or `nhwc`, or give a .npz",
    )


def image_size(port, layout, settings):
    shape = port.partial_shape
    sizes = {}
    for letter, wanted in zip("HW", settings.get("size", (None, None))):
        dimension = shape[layout.index(letter)] if shape.rank.is_static else None
        held = dimension.get_length() if dimension is not None and dimension.is_static else None
        if held is None and wanted is None:
            raise Misused(
                f"input {label(port)} {shape} leaves its height or width open",
                "say which images are to have with `--set image-size=640x640` (height x width)",
            )
        if held is not None and wanted is not None and held != wanted:
            raise Misused(
                f"`--set image-size` says {wanted}, and input {label(port)} {shape} takes {held}",
                "leave it out: images get the size that the model has",
            )
        sizes[letter] = held or wanted
    dimension = shape[layout.index("C")] if shape.rank.is_static else None
    colours = dimension.get_length() if dimension is not None and dimension.is_static else 3
    if colours not in (1, 3):
        raise Misused(
            f"input {label(port)} {shape} has {colours} channels, and images have 1 or 3",
            "say where the channels are with `--set image-layout=nchw` or `nhwc`, or give a .npz",
        )
    for name in ("mean", "scale"):
        if len(settings.get(name, [0])) not in (1, colours):
            raise Misused(
                f"`image-{name}` has {len(settings[name])} values, and input {label(port)} has {colours} channels",
                f"give one value, or {colours}",
            )
    return sizes["H"], sizes["W"], colours


def decode(numpy, file, height, width, colours, settings):
    """Height x width x colours, in floating point."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file["path"]) as opened:
            image = ImageOps.exif_transpose(opened).convert("L" if colours == 1 else "RGB")
    except Exception as error:  # noqa: BLE001 - each format has errors of its own
        raise Misused(
            f"cannot read the image {file['name']}: {first_line(error)}",
            "take it out of the calibration data, or replace it",
        ) from error
    image = resized(Image, ImageOps, image, (width, height), settings)
    pixels = numpy.asarray(image, numpy.float32).reshape(height, width, colours)
    if settings.get("color") == "bgr":
        pixels = pixels[:, :, ::-1]
    if settings.get("range") == "0..1":
        pixels = pixels / 255
    if "mean" in settings:
        pixels = pixels - numpy.asarray(settings["mean"], numpy.float32)
    if "scale" in settings:
        pixels = pixels / numpy.asarray(settings["scale"], numpy.float32)
    return pixels


def resized(Image, ImageOps, image, size, settings):
    how = settings.get("resize", "standard")
    bilinear = Image.Resampling.BILINEAR
    if how == "standard":
        return image.resize(size, bilinear)
    if how == "crop":
        return ImageOps.fit(image, size, bilinear)
    ratio = min(size[0] / image.width, size[1] / image.height)
    fitting = [max(1, min(limit, round(side * ratio))) for limit, side in zip(size, (image.width, image.height))]
    value = int(settings.get("pad", 0))
    window = Image.new(image.mode, size, value if image.mode == "L" else (value,) * 3)
    centred = how == "letterbox"
    corner = [(whole - part) // 2 if centred else 0 for whole, part in zip(size, fitting)]
    window.paste(image.resize(fitting, bilinear), tuple(corner))
    return window


def array_samples(numpy, model, given):
    loaded = [load(numpy, model, file) for file in given["files"]]
    found = []
    for arrays, file in loaded:
        counts = {name: count for name, (_array, count, _take) in arrays.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise Misused(
                f"the arrays of {file['name']} hold different numbers of samples: {told}",
                "the first axis of each array counts the samples",
            )
        count = next(iter(counts.values()))
        found += [(arrays, index) for index in range(count)]
    if not found:
        names = ", ".join(file["name"] for file in given["files"])
        raise Misused(f"{names} holds no samples", "the first axis of each array counts the samples")
    subset = min(given["subset"], len(found))
    # Spread over all of them, since data often lie in order.
    chosen = [found[index * len(found) // subset] for index in range(subset)]

    def feed(item):
        arrays, index = item
        return [arrays[label(port)][2](index) for port in model.inputs]

    return chosen, feed


def load(numpy, model, file):
    """Of one file, by the label of each input: the array, how many samples it holds, and what takes one."""
    expected = f"expected is an array for each of {described(model)}, whose first axis counts the samples"
    try:
        opened = numpy.load(
            file["path"], mmap_mode="r" if file["path"].endswith(".npy") else None, allow_pickle=False
        )
        arrays = {"": opened} if isinstance(opened, numpy.ndarray) else {name: opened[name] for name in opened.files}
    except Exception as error:  # noqa: BLE001 - numpy, zipfile and zlib have errors of their own
        raise Misused(f"cannot read the arrays of {file['name']}: {first_line(error)}", expected) from error
    ports = model.inputs
    if "" in arrays and len(ports) > 1:
        raise Misused(
            f"{file['name']} holds one array, and the model has {len(ports)} inputs", f"give a .npz: {expected}"
        )
    held = "" in arrays or not any(names_of(port) & set(arrays) for port in ports)
    # Arrays that were saved without names stand in the order of the inputs.
    by_order = held and ("" in arrays or set(arrays) == {f"arr_{index}" for index in range(len(ports))})
    taken = {}
    for index, port in enumerate(ports):
        name = (
            ("" if "" in arrays else f"arr_{index}") if by_order else next(iter(names_of(port) & set(arrays)), None)
        )
        if name is None:
            raise Misused(
                f"{file['name']} holds {', '.join(arrays) or 'no array'}, and none for input {label(port)}", expected
            )
        taken[label(port)] = samples_of(numpy, port, arrays.pop(name), name or "the array", file)
    if arrays:
        raise Misused(f"{file['name']} holds {', '.join(arrays)}, which is no input of the model", expected)
    return taken, file


def fits_size(dimension, held):
    most = dimension.get_max_length()
    return dimension.get_min_length() <= held and (most < 0 or held <= most)


def samples_of(numpy, port, array, name, file):
    shape = port.partial_shape
    dtype = port.get_element_type().to_dtype()
    where = f"{name} of {file['name']}"
    if not numpy.can_cast(array.dtype, dtype, "same_kind") and not (
        array.dtype.kind in "iub" and dtype.kind in "iuf"
    ):
        raise Misused(f"{where} holds {array.dtype}, and input {label(port)} takes {dtype}", f"save it as {dtype}")
    if array.dtype.kind == "f" and not numpy.isfinite(array).all():
        raise Misused(f"{where} holds values that are not finite", "leave out the samples that hold them")

    def fits(held):
        return shape.rank.is_dynamic or (
            shape.rank.get_length() == len(held) and all(fits_size(size, other) for size, other in zip(shape, held))
        )

    def cast(value):
        return numpy.ascontiguousarray(value.astype(dtype))

    batch = shape[0].get_length() if shape.rank.is_static and len(shape) > 0 and shape[0].is_static else 1
    if array.ndim > 0 and len(array) > 0 and fits((batch, *array.shape[1:])):
        if len(array) < batch:
            raise Misused(
                f"{where} holds {len(array)} samples, and the model takes {batch} at once", "give more of them"
            )
        return array, len(array) // batch, lambda index: cast(array[index * batch : (index + 1) * batch])
    if array.ndim > 0 and fits(array.shape[1:]):
        return array, len(array), lambda index: cast(array[index])
    if array.ndim > 0 and len(array) == 0:
        return array, 0, None
    raise Misused(
        f"{where} has the shape {list(array.shape)}, and input {label(port)} takes {shape}",
        "the first axis counts the samples, the others are those of the input",
    )
