"""Makes tiny models of many kinds, the same on every run, without network.

    python tiny_models.py KIND DIRECTORY [KIND DIRECTORY …]

Weights are random but seeded; sizes are multiples of what int4 needs where that is tried. KINDS are the functions
below, with hyphens in place of underscores.
"""

import json
import os
import pickle
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

TEXTS = [
    "A model is a function from inputs to outputs.",
    "The quick brown fox jumps over the lazy dog.",
    "Weights are stored once, verified and converted.",
    "Where is the library? It is next to the station.",
    "0123456789 !?.,;:()[]{} \"quoted\" it's",
]


def seeded():
    import torch

    torch.manual_seed(0)
    return torch


def byte_tokenizer(size=384, extra=(), **names):
    """Byte-level BPE as GPT-2, Llama 3 and Qwen have it, trained on a few sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<unk>", *extra]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TEXTS, trainer)
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **names}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, padding_side="left", **names)


def word_tokenizer(directory):
    """WordPiece as BERT has it."""
    from transformers import BertTokenizerFast

    words = sorted({word for text in TEXTS for word in "".join(c if c.isalnum() else " " for c in text).lower().split()})
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,;:!?'\"()", *letters,
                  *("##" + letter for letter in letters), *(word for word in words if len(word) > 1)]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = BertTokenizerFast(str(directory / "vocab.txt"), model_max_length=128)
    tokenizer.save_pretrained(directory)
    return tokenizer


def bert_like(directory, class_name, **settings):
    import transformers

    tokenizer = word_tokenizer(directory)
    seeded()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, pad_token_id=tokenizer.pad_token_id, **settings)
    model = getattr(transformers, class_name)(config).eval()
    model.save_pretrained(directory)
    return model


def bert(directory):
    bert_like(directory, "BertModel")


def bert_classifier(directory):
    bert_like(directory, "BertForSequenceClassification", id2label={0: "no", 1: "yes", 2: "perhaps"},
              label2id={"no": 0, "yes": 1, "perhaps": 2})


def bert_token_classifier(directory):
    bert_like(directory, "BertForTokenClassification", num_labels=5)


def bert_qa(directory):
    bert_like(directory, "BertForQuestionAnswering")


def bert_fill_mask(directory):
    bert_like(directory, "BertForMaskedLM")


def sentence_transformers(directory):
    """BERT, mean pooling and normalization, in the files that sentence-transformers has written since its third version."""
    bert(directory)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(directory / "modules.json", [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{name}"}
        for at, (path, name) in enumerate(modules)])
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    write_json(directory / "config_sentence_transformers.json", {
        "__version__": {"sentence_transformers": "3.0.0", "transformers": "4.51.0", "pytorch": "2.6.0"},
        "prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"})
    write_json(directory / "1_Pooling" / "config.json", {
        "word_embedding_dimension": 128, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})
    (directory / "2_Normalize").mkdir(exist_ok=True)


def decoder(directory, name, **settings):
    """A language model of the Llama family."""
    import transformers

    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{{ '<s>' + message['role'] + ': ' + message['content'] + '</s>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}")
    tokenizer.save_pretrained(directory)
    seeded()
    config = getattr(transformers, f"{name}Config")(**{
        "vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id, **settings})
    getattr(transformers, f"{name}ForCausalLM")(config).eval().save_pretrained(directory)


def llama(directory):
    decoder(directory, "Llama")


def qwen3(directory):
    decoder(directory, "Qwen3", head_dim=16)


def qwen2(directory):
    decoder(directory, "Qwen2")


def gemma(directory):
    """Refused by the exporter with transformers 5.5."""
    decoder(directory, "Gemma", head_dim=32)


def glm(directory):
    """Refused by the exporter with transformers 5.5."""
    decoder(directory, "Glm", head_dim=32)


def exaone4(directory):
    """Refused by the exporter with transformers other than 4.57."""
    decoder(directory, "Exaone4", layer_types=["full_attention"] * 2)


def deepseek_v3(directory):
    """Refused by the exporter with transformers other than 4.53."""
    decoder(directory, "DeepseekV3", num_key_value_heads=4, q_lora_rank=32, kv_lora_rank=16, qk_rope_head_dim=16,
            qk_nope_head_dim=16, v_head_dim=32, n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1,
            moe_intermediate_size=128, n_shared_experts=1, first_k_dense_replace=1, num_nextn_predict_layers=0)


def nystromformer(directory):
    """Exported by optimum-intel 2.0 only, which takes transformers 4.53."""
    import transformers

    tokenizer = word_tokenizer(directory)
    seeded()
    transformers.NystromformerModel(transformers.NystromformerConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, pad_token_id=tokenizer.pad_token_id)).eval().save_pretrained(directory)


def t5(directory):
    seq2seq(directory, "T5")


def mt5(directory):
    """Refused by the exporter with transformers other than 4.57."""
    seq2seq(directory, "MT5")


def seq2seq(directory, name):
    import transformers

    tokenizer = byte_tokenizer()
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(directory)
    seeded()
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer), d_model=128, d_kv=32, d_ff=128, num_layers=2, num_heads=4,
        decoder_start_token_id=tokenizer.pad_token_id, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id)
    getattr(transformers, f"{name}ForConditionalGeneration")(config).eval().save_pretrained(directory)


def whisper(directory):
    from transformers import (GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration)

    extra = ["<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|translate|>", "<|notimestamps|>"]
    tokenizer = byte_tokenizer(extra=extra)
    tokenizer.save_pretrained(directory)
    start, english, german, transcribe, translate, no_timestamps = tokenizer.convert_tokens_to_ids(extra)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(directory)
    seeded()
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
               "pad_token_id": tokenizer.pad_token_id, "decoder_start_token_id": start}
    model = WhisperForConditionalGeneration(WhisperConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, num_mel_bins=80, max_source_positions=1500,
        max_target_positions=64, suppress_tokens=None, begin_suppress_tokens=None, **special)).eval()
    model.generation_config = GenerationConfig(
        **special, max_length=64, is_multilingual=True, no_timestamps_token_id=no_timestamps,
        lang_to_id={"<|en|>": english, "<|de|>": german},
        task_to_id={"transcribe": transcribe, "translate": translate})
    model.save_pretrained(directory)


def wav2vec2(directory):
    """Speech recognition by CTC."""
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    directory.mkdir(parents=True, exist_ok=True)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    write_json(directory / "vocab.json", {letter: at for at, letter in enumerate(letters)})
    Wav2Vec2CTCTokenizer(str(directory / "vocab.json")).save_pretrained(directory)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(directory)
    seeded()
    Wav2Vec2ForCTC(Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        conv_dim=(32, 32, 32), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3), num_feat_extract_layers=3,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)).eval().save_pretrained(directory)


def vit(directory):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    size = {"height": 32, "width": 32}
    ViTImageProcessor(size=size).save_pretrained(directory)
    seeded()
    ViTForImageClassification(ViTConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256, image_size=32, patch_size=8,
        num_labels=4)).eval().save_pretrained(directory)


def timm(directory):
    """As timm pushes models: `config.json` with the architecture and how images are prepared, weights as safetensors."""
    import timm as library
    from safetensors.torch import save_file

    seeded()
    model = library.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=4, img_size=32, patch_size=8,
                                 embed_dim=64, depth=2, num_heads=4).eval()
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()},
              str(directory / "model.safetensors"), metadata={"format": "pt"})
    write_json(directory / "config.json", {
        "architecture": "vit_tiny_patch16_224", "num_classes": 4, "num_features": 64, "global_pool": "token",
        "model_args": {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4},
        "label_names": ["a", "b", "c", "d"],
        "pretrained_cfg": {
            "tag": "tiny", "custom_load": False, "input_size": [3, 32, 32], "fixed_input_size": True,
            "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center", "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5], "num_classes": 4, "pool_size": None, "first_conv": "patch_embed.proj",
            "classifier": "head"}})


def llava(directory):
    from transformers import (CLIPImageProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                              LlavaForConditionalGeneration, LlavaProcessor)

    tokenizer = byte_tokenizer(extra=["<image>"])
    image = tokenizer.convert_tokens_to_ids("<image>")
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}), tokenizer, patch_size=14,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, image_token="<image>",
        chat_template="{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
        "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}\n{% endfor %}assistant: ")
    processor.save_pretrained(directory)
    seeded()
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id)
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                              image_size=28, patch_size=14)
    LlavaForConditionalGeneration(LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=image, image_seq_length=4,
        pad_token_id=tokenizer.pad_token_id)).eval().save_pretrained(directory)


def qwen2_vl(directory):
    """Refused by the exporter with transformers 5.5."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessor

    extra = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = byte_tokenizer(extra=extra)
    start, end, image, video = tokenizer.convert_tokens_to_ids(extra)
    tokenizer.save_pretrained(directory)
    Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56).save_pretrained(directory)
    seeded()
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
               "vision_start_token_id": start, "vision_end_token_id": end, "image_token_id": image,
               "video_token_id": video, "vocab_size": len(tokenizer)}
    Qwen2VLForConditionalGeneration(Qwen2VLConfig(
        **special,
        text_config={
            "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": len(tokenizer),
            "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [4, 6, 6]},
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 128, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14,
                       "spatial_merge_size": 2, "temporal_patch_size": 2})).eval().save_pretrained(directory)


def diffusion(directory):
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    directory.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer_files = directory / "tokenizer"
    tokenizer_files.mkdir(exist_ok=True)
    write_json(tokenizer_files / "vocab.json", {token: at for at, token in enumerate(vocabulary)})
    (tokenizer_files / "merges.txt").write_text("#version: 0.2\na t</w>\n")
    vocabulary.append("at</w>")
    write_json(tokenizer_files / "vocab.json", {token: at for at, token in enumerate(vocabulary)})
    tokenizer = CLIPTokenizer(str(tokenizer_files / "vocab.json"), str(tokenizer_files / "merges.txt"), model_max_length=77)
    seeded()
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=8, norm_num_groups=8)
    vae = AutoencoderKL(
        block_out_channels=[32, 32], in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=77, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id))
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=False)
    StableDiffusionPipeline(
        vae=vae.eval(), text_encoder=text.eval(), tokenizer=tokenizer, unet=unet.eval(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False).save_pretrained(directory)


def remote_code(directory):
    """A Llama whose code comes with it: when that is run it makes the file that TINY_REMOTE_CODE_MARK names."""
    llama(directory)
    config = json.loads((directory / "config.json").read_text())
    config.update(architectures=["TinyRemoteForCausalLM"], auto_map={
        "AutoConfig": "modeling_tiny.TinyRemoteConfig", "AutoModelForCausalLM": "modeling_tiny.TinyRemoteForCausalLM"})
    write_json(directory / "config.json", config)
    (directory / "modeling_tiny.py").write_text(
        "import os\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n\n"
        "mark = os.environ.get('TINY_REMOTE_CODE_MARK')\n"
        "if mark:\n"
        "    open(mark, 'w').close()\n\n\n"
        "class TinyRemoteConfig(LlamaConfig):\n"
        "    model_type = 'llama'\n\n\n"
        "class TinyRemoteForCausalLM(LlamaForCausalLM):\n"
        "    config_class = TinyRemoteConfig\n")


def unknown(directory):
    """An architecture that nobody knows."""
    bert(directory)
    config = json.loads((directory / "config.json").read_text())
    config.update(model_type="tinyunknown", architectures=["TinyUnknownModel"])
    write_json(directory / "config.json", config)


def pickled(directory):
    """Weights as a pickle only, as older models have them."""
    torch = seeded()
    model = bert_like(directory, "BertModel")
    (directory / "model.safetensors").unlink()
    torch.save(model.state_dict(), directory / "pytorch_model.bin")


def malicious(directory):
    """A pickle that runs a command when it is loaded without care: it makes the file that TINY_PICKLE_MARK names now."""
    import shlex
    import zipfile

    pickled(directory)

    class Payload:
        def __reduce__(self):
            return os.system, ("touch " + shlex.quote(os.environ.get("TINY_PICKLE_MARK", "/dev/null")),)

    weights = directory / "pytorch_model.bin"
    with zipfile.ZipFile(weights) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(weights, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, pickle.dumps(Payload(), protocol=2) if name.endswith("data.pkl") else content)


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


KINDS = {
    make.__name__.replace("_", "-"): make
    for make in (bert, bert_classifier, bert_token_classifier, bert_qa, bert_fill_mask, sentence_transformers, llama,
                 qwen3, qwen2, gemma, glm, exaone4, deepseek_v3, nystromformer, t5, mt5, whisper, wav2vec2, vit, timm, llava,
                 qwen2_vl, diffusion, remote_code, unknown, pickled, malicious)
}

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments or len(arguments) % 2 or any(kind not in KINDS for kind in arguments[::2]):
        raise SystemExit(f"{__doc__}\nKINDS: {' '.join(KINDS)}")
    for kind, directory in zip(arguments[::2], arguments[1::2]):
        KINDS[kind](Path(directory))
