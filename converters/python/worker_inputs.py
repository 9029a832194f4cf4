"""Settings on a model's inputs: built into the model, and undone for its original."""

from worker_protocol import Misused, Refused

# The axis of colours, where a model does not tell.
GUESSED = {1: "NCHW", 3: "NHWC"}


def apply_inputs(ov, model, settings):
    """Reshapes the model and builds what its inputs go through into it."""
    if settings.get("shapes"):
        wanted = {
            index: ov.PartialShape(given["shape"])
            for index, given in assigned(model, settings["shapes"], "input-shape")
        }
        for index, shape in wanted.items():
            refuse_other_rank(model.inputs[index], shape.rank.get_length(), "input-shape")
        try:
            model.reshape({model.inputs[index]: shape for index, shape in wanted.items()})
        except RuntimeError as error:
            shapes = ", ".join(f"{label(model.inputs[index])} {shape}" for index, shape in wanted.items())
            raise Refused(
                f"it cannot be reshaped to {shapes}: {last_line(error)}",
                f"leave out `--set input-shape`, or choose shapes that the model allows; it has {described(model)}",
            ) from error
    steps = preprocessing(model, settings)
    return build(ov, model, steps) if any(steps) else model


def preprocessing(model, settings):
    """What each input goes through, by position: an empty dictionary for none."""
    steps = [{} for _port in model.inputs]
    for index, given in assigned(model, settings.get("layouts"), "layout"):
        for layout in (given["layout"], given.get("tensor", given["layout"])):
            refuse_other_rank(model.inputs[index], len(layout), "layout")
        steps[index]["layout"] = given["layout"].upper()
        if "tensor" in given:
            steps[index]["tensor_layout"] = given["tensor"].upper()
    for index, given in assigned(model, settings.get("types"), "input-type"):
        steps[index]["type"] = given["type"]
    for name in ("mean", "scale"):
        for index, given in assigned(model, settings.get(name), name):
            steps[index][name] = given["values"]
    if settings.get("reverse_channels"):
        reversed_ = [index for index in range(len(steps)) if channels(model, steps, index) == 3]
        if not reversed_:
            raise Misused(
                f"no input of the model has three channels: it has {described(model)}",
                "leave out `--set reverse-input-channels`, or name the channels with `--set layout=nchw`",
            )
        for index in reversed_:
            steps[index]["reverse"] = True
    for index, step in enumerate(steps):
        values = {len(step[name]) for name in ("mean", "scale") if name in step}
        if values - {1}:
            count = channels(model, steps, index)
            if count not in values or len(values - {1}) > 1:
                had = "an unknown number of channels" if count is None else f"{count} channels"
                raise Misused(
                    f"input {label(model.inputs[index])} has {had}, and {max(values)} values are given for `mean` or `scale`",
                    "give one value, or one for each channel, and name the channels with `--set layout=nchw`",
                )
        # One value needs no channels; several, and their order, do.
        if (step.get("reverse") or values - {1}) and "layout" not in step:
            step["layout"] = layout_of(model.inputs[index])
    return steps


def build(ov, model, steps):
    from openvino.preprocess import PrePostProcessor

    processor = PrePostProcessor(model)
    for index, step in enumerate(steps):
        if not step:
            continue
        element = model.inputs[index].get_element_type()
        entry = processor.input(index)
        if "layout" in step:
            entry.model().set_layout(ov.Layout(step["layout"]))
            entry.tensor().set_layout(ov.Layout(step.get("tensor_layout", step["layout"])))
        if "type" in step:
            entry.tensor().set_element_type(getattr(ov.Type, step["type"]))
        if "mean" in step or "scale" in step:
            entry.preprocess().convert_element_type(element if element.is_real() else ov.Type.f32)
        if step.get("reverse"):
            entry.preprocess().reverse_channels()
        for name in ("mean", "scale"):
            if name in step:
                values = step[name]
                getattr(entry.preprocess(), name)(values[0] if len(values) == 1 else values)
    return processor.build()


def original_input(numpy, value, step, dtype):
    """What the original takes where the model with `step` built in takes `value`."""
    layout = step.get("layout")
    held = step.get("tensor_layout", layout)
    if "mean" in step or "scale" in step:
        value = value.astype(dtype if dtype.kind == "f" else numpy.float32)
    if layout:
        axis = held.index("C") if "C" in held else None
        if step.get("reverse"):
            value = numpy.flip(value, axis)
    for name, change in (("mean", numpy.subtract), ("scale", numpy.divide)):
        if name in step:
            values = numpy.asarray(step[name], value.dtype)
            if values.size > 1:
                values = values.reshape([-1 if index == axis else 1 for index in range(value.ndim)])
            value = change(value, values)
    if layout and held != layout:
        value = value.transpose([held.index(letter) for letter in layout])
    return numpy.ascontiguousarray(value.astype(dtype))


def assigned(model, given, setting):
    """Pairs of an input's position and what was given for it: by name, else by order for all of them."""
    if not given:
        return []
    ports = model.inputs
    unnamed = [entry for entry in given if "name" not in entry]
    if unnamed and len(given) != len(ports):
        raise Misused(
            f"`--set {setting}` says {len(given)} of {len(ports)} inputs without a name: the model has {described(model)}",
            f"name the input: `--set {setting}={label(ports[0])}[…]`",
        )
    found = []
    for order, entry in enumerate(given):
        name = entry.get("name")
        index = order if name is None else next((i for i, port in enumerate(ports) if name in names_of(port)), None)
        if index is None:
            raise Misused(
                f"`--set {setting}` names {name}, which is no input of the model: it has {described(model)}",
                f"`--set {setting}={label(ports[0])}[…]`",
            )
        found.append((index, entry))
    return found


def names_of(port):
    return {*port.names, port.get_node().get_friendly_name()}


def label(port):
    return port.any_name if port.names else port.get_node().get_friendly_name()


def described(model):
    return ", ".join(f"{label(port)} {port.partial_shape}" for port in model.inputs)


def layout_of(port):
    """Layout such as `NCHW`: what the model says, else where an image's colours must be; None when it cannot be told."""
    from openvino import layout_helpers

    layout = layout_helpers.get_layout(port)
    shape = port.partial_shape
    if not layout.empty:
        letters = layout.to_string().strip("[]").replace(",", "")
        if letters.isalpha():
            return letters
    if shape.rank.is_dynamic or shape.rank.get_length() != 4:
        return None
    fits = [axis for axis in GUESSED if shape[axis].is_static and shape[axis].get_length() in (1, 3)]
    return GUESSED[fits[0]] if len(fits) == 1 else None


def channels(model, steps, index):
    port = model.inputs[index]
    layout = steps[index].get("layout") or layout_of(port)
    if layout is None or "C" not in layout or port.partial_shape.rank.is_dynamic:
        return None
    dimension = port.partial_shape[layout.index("C")]
    return dimension.get_length() if dimension.is_static else None


def refuse_other_rank(port, rank, setting):
    shape = port.partial_shape
    if shape.rank.is_static and shape.rank.get_length() != rank:
        raise Misused(
            f"`--set {setting}` gives {rank} dimensions for input {label(port)}, which is {shape}",
            f"give {shape.rank.get_length()}",
        )


def refuse_open_shapes(model, device):
    """For devices that run fixed shapes only."""
    open_ = [port for port in model.inputs if port.partial_shape.is_dynamic]
    if not open_:
        return
    shapes = ", ".join(f"{label(port)} {port.partial_shape}" for port in open_)
    example = ",".join(f"{label(port)}{fixed(port)}" for port in open_)
    raise Refused(
        f"the {device} runs models of fixed shapes only, and this one leaves open: {shapes}",
        f"fix them with `--set input-shape=…`, such as `--set 'input-shape={example}'`",
    )


def fixed(port):
    """An example: 1 for a batch, 640 for what else is open."""
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        return "[…]"
    sizes = [640 if size.is_dynamic else size.get_length() for size in shape]
    if sizes and shape[0].is_dynamic:
        sizes[0] = 1
    return f"[{','.join(map(str, sizes))}]"


def last_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
