"""Loads what was exported, runs it once and compares it with the original in PyTorch, where one forward pass tells."""

import gc
import os

from worker_outputs import compare, describe, finite, first_line

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
SENTENCES = (
    "The train to Munich leaves at nine.",
    "A cat sleeps on the warm windowsill.",
    "He repaired the old radio in an afternoon.",
    "Rain is expected in the north tomorrow.",
    "The recipe needs two eggs and some flour.",
    "Stock prices fell after the announcement.",
    "She plays the violin in a small orchestra.",
    "The museum is closed on Mondays.",
    "Solar panels cover the roof of the school.",
    "Who wrote the letter that arrived today?",
)
GENERATED_TOKENS = 4
# Of a model that sees: each costs a pass through all of it.
TOKENS_ABOUT_IMAGE = 3
# Pixels a side of the image that a diffusion model makes: a multiple of what their latents need.
IMAGE_SIDE = 256


def check(request, emit):
    emit("stage", stage="Running the model once")
    task = request["task"].removesuffix("-with-past")
    if request["library"] == "diffusers":
        return run_only(request, diffuse, "a diffusion model is run, not compared")
    if task == "text-generation":
        return compared(request, make_inputs, causal_outputs, causal_original)
    if task == "image-text-to-text":
        return run_only(request, describe_image, "a model that generates from images is run, not compared")
    encoder_decoder = os.path.exists(os.path.join(request["output"], "openvino_encoder_model.xml"))
    if encoder_decoder and task in ("text2text-generation", "automatic-speech-recognition"):
        return or_loaded(request, lambda: compared(request, *ENCODER_DECODER))
    if os.path.exists(os.path.join(request["output"], "openvino_model.xml")):
        return compared(request, make_inputs, single_outputs, single_original)
    return load_only(request, "models of this task are loaded, not run")


def compared(request, make, run_result, load_original):
    """Runs the result with device defaults, and under f32 beside the original."""
    import numpy

    try:
        inputs = make(request)
    except Exception as error:  # noqa: BLE001 - what cannot be fed can still be loaded
        return load_only(request, f"no inputs could be made for it: {first_line(error)}", warn=True)
    outputs = run_result(request, inputs, {})
    described = [describe(numpy, name, value) for name, value in outputs]
    report = {"passed": True, "compared": False, "outputs": described, "warnings": []}
    broken = [output["name"] for output in described if not output["finite"]]
    if broken:
        return {**report, "passed": False, "reason": f"its output {broken[0]} is not finite"}
    if request.get("reason"):
        return {**report, "reason": request["reason"]}
    exact = dict(run_result(request, inputs, EXACT))
    gc.collect()
    try:
        expected = load_original(request)(inputs)
    except Exception as error:  # noqa: BLE001 - the result may be fine where the original does not run
        import traceback

        traceback.print_exc()
        reason = f"the original did not run beside it: {first_line(error)}"
        return {**report, "reason": reason, "warnings": [f"Not compared: {reason}"]}
    judged = []
    for output in described:
        name = output["name"]
        one, other = expected.get(name), exact.get(name)
        if one is None or one.shape != other.shape or not finite(numpy, one):
            judged.append(output)
            continue
        one, other = meaningful(numpy, name, one, other, inputs)
        judged.append({**output, **compare(numpy, one, other)})
    report["outputs"] = judged
    report["compared"] = any("cosine" in output for output in judged)
    if not report["compared"]:
        report["reason"] = "the original has no outputs of the same names and shapes"
        report["warnings"] = [f"Not compared: {report['reason']}"]
    return report


def meaningful(numpy, name, one, other, inputs):
    """Without what stands for padding: states of tokens are pooled as sentence embeddings are, the rest is left out."""
    mask = inputs.get("attention_mask")
    if mask is None or one.shape[:2] != mask.shape:
        return one, other
    mask = numpy.asarray(mask)
    if one.ndim == 3 and name in ("last_hidden_state", "token_embeddings"):
        weights = mask[..., None] / mask.sum(axis=1)[:, None, None]
        return (one * weights).sum(axis=1), (other * weights).sum(axis=1)
    kept = mask.astype(bool)
    return one[kept], other[kept]


def make_inputs(request):
    """Arrays by the names that the original takes: sentences where a tokenizer makes all of them, else seeded noise."""
    import torch
    from openvino import Core

    model = Core().read_model(os.path.join(request["output"], "openvino_model.xml"))
    names = {port.any_name for port in model.inputs}
    text = {"input_ids", "attention_mask", "token_type_ids", "position_ids", "beam_idx"}
    if "input_ids" in names and names <= text:
        ids = tokenized(request)
        if ids is not None:
            return {key: value for key, value in ids.items() if key in names}
    torch.manual_seed(0)
    config = exporter_config(request, model)
    shapes = {}
    for port in model.inputs:
        sizes = port.partial_shape
        if len(sizes) == 4 and sizes[2].is_static and sizes[3].is_static:
            shapes = {"height": sizes[2].get_length(), "width": sizes[3].get_length()}
        if len(sizes) == 4 and sizes[0].is_static:
            shapes["batch_size"] = sizes[0].get_length()
    dummy = config.generate_dummy_inputs(framework="pt", **shapes)
    return {key: value.numpy() for key, value in dummy.items() if key in names}


def tokenized(request):
    from transformers import AutoTokenizer

    # Of nothing, transformers 5 makes an empty one.
    if not request["tokenizer"]:
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            request["name"], trust_remote_code=request["trustRemoteCode"]
        )
    except Exception:  # noqa: BLE001 - a model need not have one
        return None
    # One sentence where there is nothing to fill up the others with.
    sentences = SENTENCES if tokenizer.pad_token is not None else SENTENCES[:1]
    tokenizer.padding_side = "right"
    return dict(tokenizer(list(sentences), padding=len(sentences) > 1, return_tensors="np"))


def exporter_config(request, model):
    from optimum.exporters.tasks import TasksManager

    original = load(request)
    if request["library"] == "timm":
        from optimum.intel.openvino.modeling_timm import TimmOpenVINOConfig

        return TimmOpenVINOConfig(original.config)
    constructor = TasksManager.get_exporter_config_constructor(
        model=original, exporter="openvino", task=request["task"], library_name=request["library"]
    )
    return constructor(original.config)


def load(request):
    """The original, in PyTorch."""
    import torch
    from optimum.exporters.tasks import TasksManager

    if request["library"] == "timm":
        from optimum_timm import load_timm

        return load_timm(request["name"])
    arguments = {"trust_remote_code": True} if request["trustRemoteCode"] else {}
    task = request["task"].removesuffix("-with-past")
    model = TasksManager.get_model_from_task(
        task, request["name"], library_name=request["library"], framework="pt", **arguments
    )
    return model.to(torch.float32).eval()


def single_outputs(request, inputs, properties):
    from openvino import Core

    core = Core()
    model = core.read_model(os.path.join(request["output"], "openvino_model.xml"))
    compiled = core.compile_model(model, "CPU", properties)
    results = compiled({name: value for name, value in inputs.items()})
    return [(port.any_name, results[index]) for index, port in enumerate(compiled.outputs)]


def single_original(request):
    import torch

    model = load(request)

    def run(inputs):
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        with torch.no_grad():
            outputs = model(tensors) if request["library"] == "sentence_transformers" else model(**tensors)
        named = dict(outputs.items()) if hasattr(outputs, "items") else {}
        return {name: value.numpy() for name, value in named.items() if isinstance(value, torch.Tensor)}

    return run


def causal_outputs(request, inputs, properties):
    from optimum.intel import OVModelForCausalLM

    model = OVModelForCausalLM.from_pretrained(
        request["output"],
        ov_config=properties,
        trust_remote_code=request["trustRemoteCode"],
        # A model that was exported without has none.
        use_cache=request["task"].endswith("-with-past"),
    )
    return [("logits", logits(model, text_inputs(inputs)))]


def causal_original(request):
    model = load(request)
    return lambda inputs: {"logits": logits(model, text_inputs(inputs))}


def logits(model, inputs):
    import torch

    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with torch.no_grad():
        return model(**tensors).logits.float().numpy()


def text_inputs(inputs):
    """What both take: a cache and positions are their own business."""
    return {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}


def or_loaded(request, run):
    """Where it cannot be run, whether it loads decides: processors and settings of models differ without end."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001
        import traceback

        traceback.print_exc()
        return load_only(request, f"it could not be run: {first_line(error)}", warn=True)


def run_only(request, run, reason):
    return or_loaded(request, lambda: run_once(request, run, reason))


def run_once(request, run, reason):
    """Runs without comparison."""
    import numpy

    name, value = run(request)
    output = describe(numpy, name, numpy.asarray(value))
    report = {"passed": True, "compared": False, "outputs": [output], "warnings": [], "reason": reason}
    if not output["finite"]:
        report.update(passed=False, reason=f"its output {name} is not finite")
    return report


def sequence_inputs(request):
    """What an encoder reads, and the start of what its decoder writes: one pass through both tells."""
    import numpy
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(request["name"], trust_remote_code=request["trustRemoteCode"])
    if is_speech(request):
        shape = (1, getattr(config, "num_mel_bins", 80), 2 * getattr(config, "max_source_positions", 1500))
        inputs = {"input_features": numpy.random.default_rng(0).standard_normal(shape, dtype=numpy.float32)}
    else:
        inputs = tokenized(request) or {"input_ids": numpy.arange(1, 9).reshape(1, 8)}
        ids = inputs["input_ids"]
        # The decoder of a result looks at it as well.
        inputs = {"input_ids": ids, "attention_mask": inputs.get("attention_mask", numpy.ones_like(ids))}
    start = next((token for token in (config.decoder_start_token_id, config.pad_token_id) if token is not None), 0)
    begun = [start, *range(1, GENERATED_TOKENS)]
    return {**inputs, "decoder_input_ids": numpy.array([begun] * len(next(iter(inputs.values()))))}


def sequence_outputs(request, inputs, properties):
    from optimum import intel

    kind = intel.OVModelForSpeechSeq2Seq if is_speech(request) else intel.OVModelForSeq2SeqLM
    model = kind.from_pretrained(
        request["output"],
        ov_config=properties,
        trust_remote_code=request["trustRemoteCode"],
        use_cache=request["task"].endswith("-with-past"),
    )
    return [("logits", logits(model, inputs))]


def sequence_original(request):
    model = load(request)
    return lambda inputs: {"logits": logits(model, inputs)}


def is_speech(request):
    return request["task"].startswith("automatic-speech-recognition")


ENCODER_DECODER = (sequence_inputs, sequence_outputs, sequence_original)


def describe_image(request):
    import numpy
    from optimum.intel import OVModelForVisualCausalLM
    from PIL import Image
    from transformers import AutoConfig, AutoProcessor, AutoTokenizer

    arguments = {"trust_remote_code": request["trustRemoteCode"]}
    model = OVModelForVisualCausalLM.from_pretrained(request["output"], **arguments)
    processor = AutoProcessor.from_pretrained(request["name"], **arguments)
    noise = numpy.random.default_rng(0).integers(0, 255, (IMAGE_SIDE, IMAGE_SIDE, 3), dtype=numpy.uint8)
    inputs = model.preprocess_inputs(
        text="What is this?",
        image=Image.fromarray(noise),
        processor=processor,
        tokenizer=AutoTokenizer.from_pretrained(request["name"], **arguments),
        config=AutoConfig.from_pretrained(request["name"], **arguments),
    )
    tokens = model.generate(**inputs, max_new_tokens=TOKENS_ABOUT_IMAGE, do_sample=False)
    # Most models repeat what they were asked before it.
    asked = inputs["input_ids"].shape[1] if tokens.shape[1] > TOKENS_ABOUT_IMAGE else 0
    return "generated tokens", tokens[:, asked:].numpy()


def diffuse(request):
    import numpy
    from optimum.intel import OVDiffusionPipeline

    pipeline = OVDiffusionPipeline.from_pretrained(request["output"])
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"height": IMAGE_SIDE, "width": IMAGE_SIDE, "num_inference_steps": 1, "output_type": "np"}
    made = pipeline("a photo of a cat", generator=numpy.random.RandomState(0), **arguments)
    return ("frames", made.frames) if hasattr(made, "frames") else ("images", made.images)


def load_only(request, reason, warn=False):
    """Compiles every model of the result, one after another."""
    from openvino import Core

    core = Core()
    for directory, _directories, files in os.walk(request["output"]):
        for file in sorted(files):
            # Tokenizers are run by an extension of their own.
            if file.endswith(".xml") and "tokenizer" not in file:
                core.compile_model(os.path.join(directory, file), "CPU")
                gc.collect()
    warnings = [f"Loaded, but not run: {reason}"] if warn else []
    return {"passed": True, "compared": False, "outputs": [], "warnings": warnings, "reason": reason}
