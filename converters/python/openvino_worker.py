"""Converts, compresses and checks models with OpenVINO: jobs for worker_protocol.py."""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from worker_calibration import calibration_samples  # noqa: E402
from worker_cut import cut  # noqa: E402
from worker_inputs import apply_inputs, label, original_input, preprocessing, refuse_open_shapes  # noqa: E402
from worker_outputs import compare, describe, finite, first_line, name_of  # noqa: E402
from worker_protocol import Damaged, Misused, Refused, serve  # noqa: E402
from worker_weights import COMPRESSED, none_compressed, quantizers, weight_bytes  # noqa: E402

# What frontends of OpenVINO 2026.4 say of TensorFlow Lite, PaddlePaddle and IR files that are not whole.
NOT_WHOLE = r"corrupted or malformed|Model can't be parsed|pugi::status_ok|Incorrect weights in bin file"


def convert(request, emit):
    import openvino as ov

    emit("stage", stage="Reading the model")
    model = read(ov, request)
    if request.get("inputs"):
        model = apply_inputs(ov, model, request["inputs"])
    if request.get("fixed"):
        refuse_open_shapes(model, request["fixed"])
    precision = request["precision"]
    versions = {"openvino": ov.__version__.split("-")[0]}
    warnings = []
    if request.get("quantization"):
        model, versions["nncf"] = quantize(model, request, emit)
    elif request.get("compression"):
        model, versions["nncf"] = compress(model, request["compression"], emit)
    compression = request.get("compression") or {}
    if not request.get("quantization") and (note := weights_note(weight_bytes(model), precision, compression)):
        warnings.append(note)
    for name, value in (request.get("recipe") or {}).get("model_info", {}).items():
        model.set_rt_info(value, ["model_info", name])
    emit("stage", stage="Writing the IR")
    remove_local_paths(model)
    ov.save_model(model, request["output"], compress_to_fp16=precision == "fp16")
    return {"versions": versions, "warnings": warnings}


def read(ov, request):
    source = request["input"]
    outputs = request.get("outputs")
    recipe = request.get("recipe")
    try:
        if source.endswith(".xml"):
            model = ov.Core().read_model(source)
            return ending_at(ov, model, outputs) if outputs else model
        if recipe:
            # What convert_model calls inputs and outputs are those of the whole graph only.
            return cut(ov, ov.convert_model(source), recipe["begins"], outputs)
        return ov.convert_model(source, **({"output": outputs} if outputs else {}))
    except (Misused, Refused):
        raise
    except Exception as error:
        if damage := damage_of(source, str(error)):
            raise Damaged(damage) from error
        if outputs and any(name in str(error) for name in outputs):
            raise Misused(
                f"the model cannot end at {', '.join(outputs)}: {first_line(error)}",
                f"leave out `--set output`; it ends at {', '.join(ends_of(ov.convert_model(source)))}",
            ) from error
        raise


def damage_of(source, message):
    """What is wrong with a file that is no whole model; None when something else failed."""
    name = os.path.basename(source)
    if os.path.isfile(source) and os.path.getsize(source) == 0:
        return f"{name} is empty"
    if "Cannot recognize input model" in message:
        return f"{name} is damaged, or of another format than its name says"
    return message if re.search(NOT_WHOLE, message) else None


def ending_at(ov, model, names):
    """The part of a model that leads to these tensors."""
    tensors = {name: port for node in model.get_ops() for port in node.outputs() for name in port.names}
    absent = [name for name in names if name not in tensors]
    if absent:
        raise Misused(
            f"the model has no tensor {', '.join(absent)}",
            f"leave out `--set output`; it ends at {', '.join(ends_of(model))}",
        )
    return ov.Model([tensors[name] for name in names], model.get_parameters(), model.get_friendly_name())


def ends_of(model):
    return [name_of(port) for port in model.outputs]


def compress(model, settings, emit):
    import nncf

    emit("stage", stage="Compressing the weights")
    arguments = {"mode": getattr(nncf.CompressWeightsMode, settings["mode"])}
    for name in ("ratio", "group_size", "all_layers"):
        if settings.get(name) is not None:
            arguments[name] = settings[name]
    if settings.get("backup_mode") is not None:
        arguments["backup_mode"] = getattr(nncf.BackupMode, settings["backup_mode"])
    if settings.get("ignored"):
        arguments["ignored_scope"] = nncf.IgnoredScope(**settings["ignored"])
    if settings.get("group_size_fallback") is not None:
        mode = getattr(nncf.GroupSizeFallbackMode, settings["group_size_fallback"])
        arguments["advanced_parameters"] = nncf.AdvancedCompressionParameters(group_size_fallback_mode=mode)
    try:
        return nncf.compress_weights(model, **arguments), nncf.__version__
    except nncf.InvalidGroupSizeError as error:
        raise Refused(group_complaint(settings, str(error)), other_groups(settings)) from error
    except (nncf.ValidationError, re.error) as error:
        raise ignored_nothing(settings, error) from error


def group_complaint(settings, message):
    """Of nncf's message, the layers that a group does not divide, with the channels of each."""
    layers = re.findall(r'"(.+)" \(channel size: (\d+)\)', message)
    size = settings.get("group_size", 32 if settings["mode"] == "MXFP4" else 128)
    if not layers:
        return f"groups of {size} weights do not divide the channels of every layer: {message}"
    named = ", ".join(f"{name} ({channels} channels)" for name, channels in layers[:3])
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return f"groups of {size} weights do not divide the channels of {named}{more}"


def other_groups(settings):
    if settings["mode"] == "MXFP4":
        return "leave such layers as they are with `--set group-size-fallback=ignore`, or use `--precision int4`"
    return (
        "let such layers take what fits with `--set group-size-fallback=adjust`, "
        "or one scale per channel with `--set group-size=-1`"
    )


def ignored_nothing(settings, error):
    """What to say of nncf's complaint about what is to be ignored; the complaint itself when it is about something else."""
    if "ignored" not in settings or not (isinstance(error, re.error) or "gnored" in str(error)):
        return error
    return Misused(
        f"what is to be ignored is not in the model: {' '.join(str(error).split())}",
        "name layers as the IR does, by `name` and `type` in its .xml; patterns are regular expressions of Python",
    )


def quantize(model, request, emit):
    import nncf
    import numpy

    if quantizers(model):
        raise Refused("it is quantized already", "quantize the original, or leave out `--calibration`")
    settings = request["quantization"]
    samples, feed = calibration_samples(numpy, model, request["calibration"])
    emit("stage", stage=f"Quantizing with {len(samples)} samples")
    arguments = {"target_device": getattr(nncf.TargetDevice, settings["target_device"]), "subset_size": len(samples)}
    if "preset" in settings:
        arguments["preset"] = nncf.QuantizationPreset(settings["preset"])
    if "model_type" in settings:
        arguments["model_type"] = nncf.ModelType(settings["model_type"])
    if "fast_bias_correction" in settings:
        arguments["fast_bias_correction"] = settings["fast_bias_correction"]
    if "ignored" in settings:
        arguments["ignored_scope"] = nncf.IgnoredScope(**settings["ignored"])
    advanced = {}
    if "overflow_fix" in settings:
        advanced["overflow_fix"] = nncf.OverflowFix(settings["overflow_fix"])
    if "smooth_quant_alpha" in settings:
        advanced["smooth_quant_alphas"] = nncf.AdvancedSmoothQuantParameters(matmul=settings["smooth_quant_alpha"])
    if advanced:
        arguments["advanced_parameters"] = nncf.AdvancedQuantizationParameters(**advanced)
    try:
        quantized = nncf.quantize(model, nncf.Dataset(samples, feed), **arguments)
    except (nncf.ValidationError, re.error) as error:
        raise ignored_nothing(settings, error) from error
    if quantizers(quantized) == 0:
        raise Refused(
            "it has no layer that can be quantized to int8",
            "leave out `--calibration` for weight compression, or use `--precision fp16`",
        )
    return quantized, nncf.__version__


def weights_note(found, precision, compression):
    """What to say when the weights are not what was asked for, although nothing failed."""
    whole = sum(found.values())
    held = {name: sum(found.get(kind, 0) for kind in kinds) for name, kinds in COMPRESSED.items()}
    if precision in ("fp32", "fp16"):
        most = max(held, key=held.get)
        if held[most] * 2 > whole:
            return f"Most weights of the original are compressed to {most} and stay so: {precision} is for the others"
        return None
    if held[precision] == 0:
        return none_compressed(precision, found)
    # Two of 4 bits are in a byte. With a ratio, others were asked to be int8.
    share = held[precision] * 2 / (held[precision] * 2 + held["int8"])
    if precision == "int8" or "ratio" in compression or share >= 0.5:
        return None
    more = [
        setting
        for setting, given in (
            ("`--set group-size=-1`", compression.get("group_size") == -1),
            ("`--set all-layers`", compression.get("all_layers")),
        )
        if not given
    ]
    advice = f": {' or '.join(more)} may let more of them take it" if more else ""
    return f"Only {share:.0%} of the compressed weights are {precision}, the others int8{advice}"


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
    compiled = core.compile_model(model, "CPU")
    run_original, unloadable = None, None
    try:
        run_original = original_runner(core, request)
    except ImportError as error:
        # A user's own interpreter may hold less than the lock, and the lock itself less on some platforms.
        unloadable = f"Not compared: the Python package {error.name} is not there to run the original"
    except Exception as error:  # noqa: BLE001 - each runtime has errors of its own
        unloadable = f"The original itself does not load: {first_line(error)}"
    if run_original is not None and request.get("inputs"):
        run_original = behind(numpy, run_original, read(ov, {"input": request["original"], "recipe": request.get("recipe")}), request["inputs"])
    if request.get("calibration"):
        # Random values lie far from what the ranges were made for.
        samples, feed = calibration_samples(numpy, model, request["calibration"])
        ran = run_both(model, compiled, run_original, [named(model, feed(samples[0]))])
    else:
        ran = run_both(model, compiled, run_original, random_inputs(numpy, model))
    if ran is None:
        return {"passed": True, "compared": False, "reason": NO_SIZES, "outputs": [], "warnings": [NO_SIZES]}
    inputs, values, expected, failure = ran
    outputs = [describe(numpy, name_of(port), value) for port, value in zip(model.outputs, values)]
    report = {"passed": True, "outputs": outputs, "compared": False, "warnings": []}
    if expected is not None and request.get("outputs"):
        known = {name for port in model.outputs for name in port.names}
        expected = [(name, value) for name, value in expected if name in known]
        if len(expected) < len(model.outputs):
            expected, request = None, {**request, "reason": "it ends where the original has no output"}
    if expected is not None:
        expected = in_order(model, expected)
        if not all(finite(numpy, value) for value in expected):
            report["reason"] = "the original's outputs are not finite with random inputs"
            return report
    if not all(output["finite"] for output in outputs):
        report.update(passed=False, reason="an output is not finite")
        return report
    if expected is None:
        failure = failure or unloadable
        report["reason"] = request.get("reason") or failure
        if failure:
            report["warnings"].append(failure)
        return report
    exact = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(list(inputs.values()))
    values = [exact[index] for index in range(len(model.outputs))]
    if len(expected) != len(values):
        report.update(passed=False, reason=f"it has {len(values)} outputs, the original {len(expected)}")
        return report
    for port, one, other in zip(model.outputs, expected, values):
        if one.shape == other.shape:
            continue
        report["reason"] = f"the shape of {name_of(port)} is {list(other.shape)}, the original's is {list(one.shape)}"
        # Shapes that depend on values (boxes that are left after a threshold) may differ by rounding.
        report["passed"] = one.ndim == other.ndim and port.partial_shape.is_dynamic
        report["warnings"].append(f"Not compared: {report['reason']}")
        return report
    report["compared"] = True
    for output, one, other in zip(outputs, expected, values):
        output.update(compare(numpy, one, other))
    return report


def behind(numpy, run_original, original, settings):
    """Runs the original with what reaches it through the settings of inputs that the result has built in."""
    steps = preprocessing(original, settings)
    types = [port.get_element_type().to_dtype() for port in original.inputs]

    def run(inputs):
        values = [original_input(numpy, *given) for given in zip(inputs.values(), steps, types)]
        return run_original(named(original, values))

    return run


def named(model, values):
    return {label(port): value for port, value in zip(model.inputs, values)}


def run_both(model, compiled, run_original, candidates):
    """Inputs that fit, the outputs of both models, and why the original gave none; None when no candidate fits.

    Dimensions that a model leaves open may still allow few sizes only, which nothing but running tells.
    """
    for inputs in candidates:
        expected = failure = None
        if run_original is not None:
            try:
                expected = run_original(inputs)
            except Exception as error:  # noqa: BLE001 - each runtime has errors of its own
                if is_open(model):
                    continue
                failure = f"The original itself does not run: {first_line(error)}"
        try:
            results = compiled(list(inputs.values()))
        except Exception:
            # Sizes that the original takes, and those of a model that leaves nothing open, must do.
            if expected is not None or not is_open(model):
                raise
            continue
        return inputs, [results[index] for index in range(len(model.outputs))], expected, failure
    return None


def random_inputs(numpy, model):
    """Inputs of every size that may fit, once each."""
    tried = set()
    for sizes in OPEN_SIZES:
        inputs = make_inputs(numpy, model, sizes)
        shapes = tuple(value.shape for value in inputs.values())
        if shapes not in tried:
            tried.add(shapes)
            yield inputs


def is_open(model):
    return any(port.partial_shape.is_dynamic for port in model.inputs)


NO_SIZES = "It was not run: no sizes were found that fit its open dimensions"

# Sizes tried for dimensions that a model leaves open, by position: images (rank 4) are height x width, anything else
# `steps` long in its last open dimension and `inner` in those before; batch 1. The commonest sizes of pretrained networks
# come first, multiples of 32 as detectors need them, then a line of text, and lengths of sound.
OPEN_SIZES = (
    {"image": (224, 224), "steps": 8, "inner": 8},
    {"image": (48, 320), "steps": 512, "inner": 1},
    {"image": (640, 640), "steps": 1536, "inner": 1},
    {"image": (32, 320), "steps": 16000, "inner": 1},
    {"image": (64, 64), "steps": 1, "inner": 1},
    {"image": (512, 512), "steps": 128, "inner": 128},
    {"image": (112, 112), "steps": 80, "inner": 100},
)


def make_inputs(numpy, model, sizes):
    """Seeded inputs, by the name of each input."""
    random = numpy.random.default_rng(0)
    inputs = {}
    for port in model.inputs:
        shape = fitting_shape(port.partial_shape, sizes)
        dtype = port.element_type.to_dtype()
        if dtype.kind == "f":
            value = random.standard_normal(shape).astype(dtype)
        elif dtype == numpy.uint8 and len(shape) == 4:
            # Pixels.
            value = random.integers(0, 256, shape).astype(dtype)
        elif dtype.kind == "b":
            value = numpy.ones(shape, dtype)
        else:
            value = random.integers(0, 2, shape).astype(dtype)
        inputs[label(port)] = value
    return inputs


def fitting_shape(dimensions, sizes):
    if dimensions.rank.is_dynamic:
        return [1, sizes["steps"]]
    rank = dimensions.rank.get_length()
    image = (1, 3, *sizes["image"])
    still_open = [index for index in range(1, rank) if dimensions[index].is_dynamic]
    shape = []
    for index in range(rank):
        if dimensions[index].is_static:
            shape.append(dimensions[index].get_length())
        elif rank == 4:
            shape.append(clamp(dimensions[index], image[index]))
        elif index == 0:
            shape.append(clamp(dimensions[index], 1))
        else:
            last = index == still_open[-1] and index == rank - 1
            shape.append(clamp(dimensions[index], sizes["steps" if last else "inner"]))
    return shape


def clamp(dimension, wanted):
    low = dimension.get_min_length()
    high = dimension.get_max_length()
    return max(low, min(wanted, high)) if high > 0 else max(low, wanted)


def original_runner(core, request):
    """What runs the original: takes inputs by name, gives (name, value) of each output. None without a runtime."""
    original = request.get("original")
    if not original:
        return None
    if original.endswith(".xml"):
        return ir_runner(core, original)
    return tflite_runner(original) if original.endswith(".tflite") else onnx_runner(original)


def ir_runner(core, path):
    model = core.read_model(path)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs):
        results = compiled(list(inputs.values()))
        return [(name_of(port), results[index]) for index, port in enumerate(model.outputs)]

    return run


def tflite_runner(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    wanted = interpreter.get_input_details()

    def run(inputs):
        by_position = list(inputs.values())
        named = [inputs.get(detail["name"], value) for detail, value in zip(wanted, by_position)]
        for detail, value in zip(wanted, named):
            interpreter.resize_tensor_input(detail["index"], list(value.shape), strict=True)
        interpreter.allocate_tensors()
        for detail, value in zip(wanted, named):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        return [
            (detail["name"], interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()
        ]

    return run


def onnx_runner(path):
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = [item.name for item in session.get_inputs()]
    names = [item.name for item in session.get_outputs()]

    def run(inputs):
        named = inputs if set(wanted) == set(inputs) else dict(zip(wanted, inputs.values()))
        return list(zip(names, session.run(None, named)))

    return run


def in_order(model, expected):
    """The original's outputs in the order of the model's, by name where the names are known."""
    by_name = dict(expected)
    found = [next((name for name in port.names if name in by_name), None) for port in model.outputs]
    if None in found or len(set(found)) != len(by_name):
        return [value for _name, value in expected]
    return [by_name[name] for name in found]


if __name__ == "__main__":
    serve({"convert": convert, "check": check})
