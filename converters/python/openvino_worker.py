"""Converts, compresses and checks models with OpenVINO.

Reads one JSON request, a line on standard input, and writes JSON-line events to file descriptor 3. Whatever the
libraries print goes to the log. When standard input closes, whoever asked is gone, and the worker ends.
"""

import json
import os
import sys
import threading


def main():
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    events = os.fdopen(3, "w", encoding="utf-8")

    def emit(event, **fields):
        events.write(json.dumps({"type": event, **fields}) + "\n")
        events.flush()

    try:
        result = JOBS[request["job"]](request, emit)
    except Exception as error:  # noqa: BLE001 - everything is reported, with its traceback in the log
        import traceback

        traceback.print_exc()
        emit("error", kind=type(error).__name__, message=str(error))
        sys.exit(1)
    emit("result", **result)


def end_with_parent():
    # Not sys.stdin: a thread that waits in it holds a lock that Python needs when it ends.
    while os.read(0, 1):
        pass
    os._exit(2)


def convert(request, emit):
    import openvino as ov

    emit("stage", stage="Reading the model")
    model = read(ov, request)
    compression = request.get("compression")
    versions = {"openvino": ov.__version__.split("-")[0]}
    if compression:
        model, versions["nncf"] = compress(model, compression, emit)
    emit("stage", stage="Writing the IR")
    remove_local_paths(model)
    ov.save_model(model, request["output"], compress_to_fp16=request["fp16"])
    return {"versions": versions}


def read(ov, request):
    source = request["input"]
    if source.endswith(".xml"):
        return ov.Core().read_model(source)
    return ov.convert_model(source)


def compress(model, settings, emit):
    import nncf

    emit("stage", stage="Compressing the weights")
    arguments = {"mode": getattr(nncf.CompressWeightsMode, settings["mode"])}
    for name in ("ratio", "group_size", "all_layers"):
        if settings.get(name) is not None:
            arguments[name] = settings[name]
    if settings.get("backup_mode") is not None:
        arguments["backup_mode"] = getattr(nncf.BackupMode, settings["backup_mode"])
    if settings.get("group_size_fallback") is not None:
        mode = getattr(nncf.GroupSizeFallbackMode, settings["group_size_fallback"])
        arguments["advanced_parameters"] = nncf.AdvancedCompressionParameters(group_size_fallback_mode=mode)
    return nncf.compress_weights(model, **arguments), nncf.__version__


def remove_local_paths(model):
    """A result must be the same wherever it was made: conversion parameters name the input's path."""
    for path in (["conversion_parameters"], ["legacy_frontend"]):
        if model.has_rt_info(path):
            model.set_rt_info({}, path)


def check(request, emit):
    import numpy
    import openvino as ov

    emit("stage", stage="Running the model once")
    core = ov.Core()
    model = core.read_model(request["model"])
    inputs = make_inputs(numpy, model)
    results = core.compile_model(model, "CPU")(list(inputs.values()))
    values = [results[index] for index in range(len(model.outputs))]
    outputs = []
    for port, value in zip(model.outputs, values):
        finite = bool(numpy.isfinite(value).all()) if value.dtype.kind == "f" else True
        outputs.append(
            {"name": name_of(port), "shape": list(value.shape), "type": str(value.dtype), "finite": finite}
        )
    report = {"passed": all(output["finite"] for output in outputs), "outputs": outputs, "compared": False}
    if not report["passed"]:
        report["reason"] = "an output is not finite"
        return report
    original = request.get("original")
    if not original:
        report["reason"] = request.get("reason", "the original has no runtime here")
        return report
    exact = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(list(inputs.values()))
    values = [exact[index] for index in range(len(model.outputs))]
    expected = run_onnx(original, inputs)
    if len(expected) != len(values) or any(a.shape != b.shape for a, b in zip(expected, values)):
        report["reason"] = "the original's outputs have other shapes"
        return report
    report["compared"] = True
    for output, one, other in zip(outputs, expected, values):
        output.update(compare(numpy, one, other))
    return report


def name_of(port):
    return port.any_name if port.names else f"output {port.index}"


# Sizes for dimensions that a model leaves open, by rank and position: batch 1; images 3 x 224 x 224 (the commonest
# size of pretrained networks, and a multiple of 32, which detectors need); 8 steps of anything else.
OPEN_IMAGE = {0: 1, 1: 3, 2: 224, 3: 224}
OPEN_STEPS = 8


def make_inputs(numpy, model):
    """Seeded inputs, by the name of each input."""
    random = numpy.random.default_rng(0)
    inputs = {}
    for port in model.inputs:
        dimensions = port.partial_shape
        rank = dimensions.rank.get_length() if dimensions.rank.is_static else 2
        shape = []
        for index in range(rank):
            dimension = dimensions[index] if dimensions.rank.is_static else None
            if dimension is not None and dimension.is_static:
                shape.append(dimension.get_length())
            elif rank == 4:
                shape.append(clamp(dimension, OPEN_IMAGE[index]))
            else:
                shape.append(1 if index == 0 else clamp(dimension, OPEN_STEPS))
        dtype = port.element_type.to_dtype()
        if dtype.kind == "f":
            value = random.standard_normal(shape).astype(dtype)
        elif dtype.kind == "b":
            value = numpy.ones(shape, dtype)
        else:
            value = random.integers(0, 2, shape).astype(dtype)
        inputs[port.any_name] = value
    return inputs


def clamp(dimension, wanted):
    if dimension is None:
        return wanted
    low = dimension.get_min_length()
    high = dimension.get_max_length()
    return max(low, min(wanted, high)) if high > 0 else max(low, wanted)


def run_onnx(path, inputs):
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = [item.name for item in session.get_inputs()]
    if set(wanted) == set(inputs):
        return session.run(None, inputs)
    return session.run(None, dict(zip(wanted, inputs.values())))


def compare(numpy, expected, actual):
    one = expected.astype(numpy.float64).ravel()
    other = actual.astype(numpy.float64).ravel()
    if one.size == 0:
        return {}
    norms = numpy.linalg.norm(one) * numpy.linalg.norm(other)
    cosine = float(one @ other / norms) if norms > 0 else float(numpy.array_equal(one, other))
    return {"maxDifference": float(numpy.abs(one - other).max()), "cosine": cosine}


JOBS = {"convert": convert, "check": check}

if __name__ == "__main__":
    main()
