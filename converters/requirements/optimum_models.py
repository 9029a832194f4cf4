"""Makes `../optimum-models.json`: which models the locks of `optimum` convert, and to what, by the tools' own tables.

    python -I -B optimum_models.py read LOCK      in a lock's environment: its facts, as JSON on standard output
    python -I -B optimum_models.py merge FACTS…   facts of all locks, preferred first: the table on standard output

`npm run models` does both. `read` imports what it reads; nothing is fetched.
"""

import collections
import functools
import importlib.metadata
import importlib.util
import json
import re
import sys

BACKEND = "openvino"
PAST = "-with-past"
PACKAGES = ("transformers", "optimum-intel", "optimum", "openvino", "openvino-tokenizers", "nncf", "torch", "diffusers",
            "sentence-transformers", "timm")
# Of an architecture that several tasks load: what hubs tag such models with, and what optimum-intel takes for them.
PREFERRED = ("image-text-to-text", "zero-shot-image-classification", "image-segmentation", "image-to-text",
             "text-to-image", "text-to-video")
# What transformers has of these the exporter fails at: it was written for the code that comes with the models.
WITH_THEIR_CODE = {"deepseek_v3"}
# Modules that the exporter of a library imports, where they are not named as it is.
MODULES = {"open_clip": "open_clip", "kokoro": "kokoro", "funasr": "funasr", "sentence_transformers": "sentence_transformers"}


def read(lock):
    import optimum.exporters.openvino  # noqa: F401  registers what it exports
    from optimum.exporters.tasks import TasksManager
    from packaging.version import Version
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    transformers = Version(importlib.metadata.version("transformers"))

    def limits(exporters):
        # All tasks of a model type are exported by one class; would that change, the table needed limits by task.
        stated = {
            (str(exporter.func.MIN_TRANSFORMERS_VERSION), getattr(exporter.func, "MAX_TRANSFORMERS_VERSION", None))
            for exporter in exporters.values()
        }
        (oldest, newest), *others = stated
        if others:
            raise SystemExit(f"Expected one pair of limits for all tasks, got {stated}")
        # As optimum.exporters.openvino.convert.export compares them.
        base = Version(transformers.base_version)
        suits = Version(oldest) <= base and (newest is None or base <= Version(newest))
        return oldest, newest, suits

    libraries = {}
    for library, model_types in TasksManager._LIBRARY_TO_SUPPORTED_MODEL_TYPES.items():
        # The parts of a pipeline: pipelines are read below.
        if library == "diffusers":
            continue
        installed = library not in MODULES or importlib.util.find_spec(MODULES[library]) is not None
        for model_type, backends in model_types.items():
            if BACKEND not in backends or model_type in TasksManager._UNSUPPORTED_CLI_MODEL_TYPE:
                continue
            oldest, newest, suits = limits(backends[BACKEND])
            libraries.setdefault(library, {})[model_type] = {
                "tasks": sorted(backends[BACKEND]),
                "min": oldest,
                "max": newest,
                "suits": suits and installed,
                "known": library != "transformers" or model_type in CONFIG_MAPPING_NAMES,
                "architectures": architectures(TasksManager, library, model_type, backends[BACKEND]),
            }
    # In no registry: optimum-intel's wrapper is handed to its exporter by `optimum_timm.py`.
    from optimum.intel.openvino.modeling_timm import TimmOpenVINOConfig

    oldest, newest, suits = limits({"": functools.partial(TimmOpenVINOConfig)})
    libraries["timm"] = {"timm": {"tasks": ["image-classification"], "min": oldest, "max": newest, "suits": suits,
                                  "known": True, "architectures": {}}}
    return {
        "lock": lock,
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "libraries": libraries,
        "pipelines": pipelines(),
        "defaults": defaults(),
    }


def architectures(tasks_manager, library, model_type, supported):
    """Classes of a model type, by name, with the tasks that load them."""
    classes = {}
    if library != "transformers":
        return classes
    for task, by_type in tasks_manager._TRANSFORMERS_TASKS_TO_MODEL_MAPPINGS.items():
        named = by_type.get(model_type, ())
        for name in (named,) if isinstance(named, str) else named:
            if task in supported or task + PAST in supported:
                classes.setdefault(name, set()).add(task)
    for (_, custom_type, task), (_, name) in tasks_manager._CUSTOM_CLASSES.items():
        if custom_type == model_type and task in supported and not name.startswith("Auto"):
            classes.setdefault(name, set()).add(task.removesuffix(PAST))
    return {name: sorted(tasks) for name, tasks in classes.items()}


def pipelines():
    """Pipelines of diffusers, by class, with the tasks that they and their siblings of the same parts do."""
    from optimum.intel.openvino import modeling_diffusion as diffusion

    # Older ones make no videos of images.
    tasks = {
        "text-to-image": getattr(diffusion, "OV_TEXT2IMAGE_PIPELINES_MAPPING", {}),
        "image-to-image": getattr(diffusion, "OV_IMAGE2IMAGE_PIPELINES_MAPPING", {}),
        "inpainting": getattr(diffusion, "OV_INPAINT_PIPELINES_MAPPING", {}),
        "text-to-video": getattr(diffusion, "OV_TEXT2VIDEO_PIPELINES_MAPPING", {}),
        "image-to-video": getattr(diffusion, "OV_IMAGE2VIDEO_PIPELINES_MAPPING", {}),
    }
    found = {}
    for task, by_name in tasks.items():
        for name, pipeline in by_name.items():
            found.setdefault(pipeline.auto_model_class.__name__, {"task": task, "tasks": sorted(
                other for other, names in tasks.items() if name in names)})
    return found


def defaults():
    """Quantization that optimum-intel applies by itself to models of these names, by precision."""
    from optimum.intel.openvino import configuration

    return {
        "int4": plain(configuration._DEFAULT_4BIT_WQ_CONFIGS),
        "int8": plain(configuration._DEFAULT_8BIT_WQ_CONFIGS),
        "quant-mode int8": plain(configuration._DEFAULT_INT8_FQ_CONFIGS),
        "ignored scope": plain(getattr(configuration, "_DEFAULT_IGNORED_SCOPE_CONFIGS", {})),
    }


def plain(configs):
    # Values of enumerations are strings as well.
    return {name: json.loads(json.dumps(config)) for name, config in configs.items()}


def merge(facts):
    locks = {}
    for one in facts:
        locks[one["lock"]] = one["versions"]
    newest = facts[0]
    libraries = {}
    for library in newest["libraries"]:
        libraries[library] = {}
        for model_type in sorted({name for one in facts for name in one["libraries"].get(library, {})}):
            libraries[library][model_type] = merge_type(
                model_type,
                [(one["lock"], one["libraries"][library][model_type]) for one in facts
                 if model_type in one["libraries"].get(library, {})]
            )
    transformers = libraries["transformers"]
    return {
        "locks": locks,
        "libraries": libraries,
        "suffixes": suffixes(transformers),
        "pipelines": {name: entry | {"locks": [one["lock"] for one in facts if name in one["pipelines"]]}
                      for name, entry in {k: v for one in reversed(facts) for k, v in one["pipelines"].items()}.items()},
        "defaults": {kind: {name: described(config) for name, config in configs.items()}
                     for kind, configs in newest["defaults"].items()},
    }


def merge_type(model_type, by_lock):
    _, first = by_lock[0]
    suiting = [(lock, entry) for lock, entry in by_lock if entry["suits"]]
    known = [lock for lock, entry in suiting if entry["known"]]
    classes = {}
    for _, entry in by_lock:
        for name, tasks in entry["architectures"].items():
            classes.setdefault(name, tasks)
    merged = {
        "tasks": first["tasks"],
        **overall_limits([entry for _, entry in by_lock]),
        "locks": known or [lock for lock, _ in suiting],
        # What no transformers among them knows comes with code of the model, or not at all.
        **({"remoteCode": True} if suiting and (not known or model_type in WITH_THEIR_CODE) else {}),
        "architectures": {name: preferred(tasks) for name, tasks in sorted(classes.items())},
    }
    single = {task.removesuffix(PAST) for task in first["tasks"]}
    if len(single) == 1:
        (merged["task"],) = single
    elif "image-text-to-text" in single and "text-generation" not in merged["architectures"].values():
        # optimum-intel's own choice for phi4mm and the like; who loads images as well is asked for both.
        merged["task"] = "image-text-to-text"
    return merged


def overall_limits(entries):
    """The widest that the exporters of all locks state, since these are not all of one version."""
    oldest = min((entry["min"] for entry in entries), key=release)
    newest = [entry["max"] for entry in entries]
    return {"min": oldest, **({} if None in newest else {"max": max(newest, key=release)})}


def release(version):
    return [int(part) for part in version.split(".")]


def preferred(tasks):
    return next((task for task in PREFERRED if task in tasks), tasks[0])


def suffixes(model_types):
    """Ends of class names that stand for one task nearly wherever they occur, for classes that come with the model's code."""
    found = {}
    for entry in model_types.values():
        for name, task in entry["architectures"].items():
            suffix = re.search(r"For[A-Z][^/]*$", name)
            if suffix is not None:
                found.setdefault(suffix.group(), collections.Counter())[task] += 1
    # Few classes say otherwise, such as speech models that are "ForSequenceClassification" of audio.
    common = {suffix: tasks.most_common(1)[0] for suffix, tasks in found.items()}
    return {suffix: task for suffix, (task, count) in common.items() if 1 < count >= 0.8 * found[suffix].total()}


def described(config):
    datasets = sorted(datasets_of(config))
    return {**({"datasets": datasets} if datasets else {}), "config": config}


def datasets_of(config):
    if not isinstance(config, dict):
        return set()
    own = {config["dataset"]} if isinstance(config.get("dataset"), str) else set()
    return own.union(*(datasets_of(value) for value in config.values()))


def write(table):
    """One entry a line, sorted where order means nothing, so that a change of a tool's table shows as few lines."""
    sections = []
    for section, entries in table.items():
        flat = {f"{outer}": inner for outer, inner in entries.items()}
        if section in ("libraries", "defaults"):
            groups = []
            for group, members in flat.items():
                groups.append(f"    {json.dumps(group)}: {{\n" + lines(members, 6) + "\n    }")
            sections.append(f"  {json.dumps(section)}: {{\n" + ",\n".join(groups) + "\n  }")
        else:
            sections.append(f"  {json.dumps(section)}: {{\n" + lines(flat, 4, section == "locks") + "\n  }")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def lines(members, indent, in_order=False):
    names = members if in_order else sorted(members)
    return ",\n".join(f"{' ' * indent}{json.dumps(name)}: {json.dumps(members[name])}" for name in names)


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    if verb == "read":
        print(json.dumps(read(*arguments)))
    elif verb == "merge":
        facts = []
        for path in arguments:
            with open(path, encoding="utf-8") as file:
                facts.append(json.load(file))
        sys.stdout.write(write(merge(facts)))
    else:
        raise SystemExit(__doc__)
