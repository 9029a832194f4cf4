"""Exports image models of timm, which `optimum-cli export openvino` takes from nowhere: optimum-intel loads them by their
names at the Hub only. What its command does before and after is done as for all others."""

import json
import os


def main_export(model_name_or_path, output, ov_config=None, **_others):
    """Stands in for optimum-intel's own, with those of its arguments that such models have a use for."""
    from optimum.exporters.openvino import export_models
    from optimum.intel.openvino.modeling_timm import TimmOpenVINOConfig

    model = load_timm(model_name_or_path)
    export_models(
        models_and_export_configs={"model": (model, TimmOpenVINOConfig(model.config))},
        output_dir=output,
        output_names=["openvino_model.xml"],
        ov_config=ov_config,
        stateful=[False],
        library_name="timm",
    )
    # What quantizes it reads this.
    describe(model_name_or_path, output)


def load_timm(directory):
    """The model of a directory, in optimum-intel's own wrapper."""
    import timm
    from optimum.intel.openvino.modeling_timm import TimmConfig, TimmForImageClassification
    from transformers import PreTrainedModel

    class Local(TimmForImageClassification):
        def __init__(self, config, model):
            PreTrainedModel.__init__(self, config)
            self.model = model

    model = timm.create_model(f"local-dir:{os.path.abspath(directory)}", pretrained=True, exportable=True).eval()
    prepared = model.pretrained_cfg
    channels, *size = prepared["input_size"]
    config = {"num_labels": model.num_classes, "num_channels": channels, "image_size": size}
    return Local(TimmConfig.from_dict({**prepared, **config}), model).float().eval()


def describe(directory, output):
    """Labels, and how images are prepared, as transformers reads both of timm's own `config.json`: with its name for such
    models, and with labels where optimum-intel looks for them."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    config.save_pretrained(output)
    path = os.path.join(output, "config.json")
    with open(path, encoding="utf-8") as file:
        written = json.load(file)
    written.update(id2label=config.id2label, label2id=config.label2id)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(written, file, indent=2, sort_keys=True)
        file.write("\n")
