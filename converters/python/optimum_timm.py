"""Exports image models of timm, which `optimum-cli export openvino` takes from nowhere: optimum-intel loads them by their
names at the Hub only. What its command does before and after is done as for all others."""

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
    describe_images(model_name_or_path, output)


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


def describe_images(directory, output):
    """Labels, and how images are prepared, in the form in which transformers reads both for models of timm."""
    from transformers import AutoConfig, AutoImageProcessor

    AutoConfig.from_pretrained(directory).save_pretrained(output)
    AutoImageProcessor.from_pretrained(directory).save_pretrained(output)
