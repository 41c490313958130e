"""Tiny random models of the architectures that people use, one for each task.

Each maker is given an empty folder and a task; it leaves there what a release of that architecture
has, and returns the model.
"""

import importlib.util

import pytest
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

from tests.inference.worker.tiny_models import (
    SPECIAL,
    WORDS,
    save_model,
    save_tokenizer,
    tiny_bert,
    write_json,
)

LABELS = {0: "negative", 1: "neutral", 2: "positive"}
BERTS = {
    "text-classification": transformers.BertForSequenceClassification,
    "zero-shot-classification": transformers.BertForSequenceClassification,
    "token-classification": transformers.BertForTokenClassification,
    "question-answering": transformers.BertForQuestionAnswering,
    "fill-mask": transformers.BertForMaskedLM,
    "feature-extraction": transformers.BertModel,
}


def bert(folder, task):
    more = {"id2label": LABELS, "label2id": {name: at for at, name in LABELS.items()}}
    if task == "zero-shot-classification":
        more = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}}
        more["label2id"] = {name: at for at, name in more["id2label"].items()}
    return tiny_bert(
        BERTS[task],
        folder,
        **(
            {}
            if task in BERTS and task in ("fill-mask", "question-answering", "feature-extraction")
            else more
        ),
    )


def bart(folder, task):
    torch.manual_seed(7)
    save_tokenizer(folder)
    config = transformers.BartConfig(
        vocab_size=len(SPECIAL) + len(WORDS), d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, max_position_embeddings=64, pad_token_id=0, bos_token_id=2,
        eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=None, init_std=0.5,
    )  # fmt: skip
    return save_model(folder, transformers.BartForConditionalGeneration(config))


def vit(folder, task):
    torch.manual_seed(7)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    config = transformers.ViTConfig(**_VIT, id2label=LABELS, label2id={})
    return save_model(folder, transformers.ViTForImageClassification(config))


_VIT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "image_size": 32, "patch_size": 16, "initializer_range": 0.5,
}  # fmt: skip


def yolos(folder, task):
    torch.manual_seed(7)
    size = {"shortest_edge": 32, "longest_edge": 64}
    transformers.YolosImageProcessor(size=size).save_pretrained(folder)
    said = {**_VIT, "image_size": [32, 32], "num_detection_tokens": 4}
    config = transformers.YolosConfig(**said, id2label=LABELS, label2id={})
    return save_model(folder, transformers.YolosForObjectDetection(config))


def captions(folder, task):
    torch.manual_seed(7)
    save_tokenizer(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**_VIT),
        transformers.GPT2Config(
            vocab_size=len(SPECIAL) + len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=32,
            initializer_range=0.5,
        ),
        decoder_start_token_id=2, pad_token_id=0, eos_token_id=3,
    )  # fmt: skip
    return save_model(folder, transformers.VisionEncoderDecoderModel(config))


def wav2vec2(folder, task):
    torch.manual_seed(7)
    write_json(folder, "vocab.json", {"<pad>": 0, "<unk>": 1, "|": 2, "A": 3, "B": 4, "C": 5})
    transformers.Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>", bos_token=None,
        eos_token=None,
    ).save_pretrained(folder)  # fmt: skip
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    config = transformers.Wav2Vec2Config(
        vocab_size=6, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(5, 4),
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, classifier_proj_size=16,
        initializer_range=0.5, pad_token_id=0, id2label=LABELS, label2id={},
    )  # fmt: skip
    if task == "audio-classification":
        return save_model(folder, transformers.Wav2Vec2ForSequenceClassification(config))
    model = transformers.Wav2Vec2ForCTC(config)
    model.lm_head.bias.data[:3] = -100  # letters only
    return save_model(folder, model)


def vits(folder, task):
    torch.manual_seed(7)
    write_json(folder, "vocab.json", {each: at for at, each in enumerate("_ abcdehlotn")})
    transformers.VitsTokenizer(
        str(folder / "vocab.json"), pad_token="_", unk_token="_", phonemize=False, normalize=True,
        is_uroman=False, add_blank=True, language="en",
    ).save_pretrained(folder)  # fmt: skip
    config = transformers.VitsConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16,
        flow_size=16, spectrogram_bins=16, upsample_initial_channel=32, upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16], resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]], prior_encoder_num_wavenet_layers=1,
        prior_encoder_num_flows=1, posterior_encoder_num_wavenet_layers=1,
        wavenet_kernel_size=3, duration_predictor_num_flows=2,
        duration_predictor_filter_channels=16, depth_separable_num_layers=1,
    )  # fmt: skip
    return save_model(folder, transformers.VitsModel(config))


MAKERS = {
    **dict.fromkeys(BERTS, bert),
    **dict.fromkeys(("summarization", "translation", "text2text-generation"), bart),
    "image-classification": vit,
    "object-detection": yolos,
    "image-to-text": captions,
    "automatic-speech-recognition": wav2vec2,
    "audio-classification": wav2vec2,
    "text-to-speech": vits,
}


def diffusion(folder, task="text-to-image"):
    """A Stable Diffusion of a few numbers, saved by diffusers; the pipeline itself."""
    if importlib.util.find_spec("diffusers") is None:
        pytest.skip("diffusers is not installed")
    import diffusers

    torch.manual_seed(7)
    blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4}
    unet = diffusers.UNet2DConditionModel(
        **blocks, layers_per_block=1, sample_size=8, cross_attention_dim=16, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        **blocks, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    (folder / "tokenizer").mkdir()
    config = transformers.CLIPTextConfig(
        vocab_size=len(SPECIAL) + len(WORDS), hidden_size=16, intermediate_size=16,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64, bos_token_id=2,
        eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    pipeline = diffusers.StableDiffusionPipeline(
        unet=unet.eval(), vae=vae.eval(), text_encoder=transformers.CLIPTextModel(config).eval(),
        tokenizer=save_tokenizer(folder / "tokenizer"), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return pipeline


# ---------------------------------------------------------------- more architectures


_SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_WIDTH = len(SPECIAL) + len(WORDS)


def named(labels):
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {each: n for n, each in enumerate(labels)},
    }


def distilbert(folder, task):
    torch.manual_seed(7)
    save_tokenizer(folder)
    config = transformers.DistilBertConfig(
        vocab_size=_WIDTH, dim=16, n_layers=1, n_heads=2, hidden_dim=16, initializer_range=0.5,
        max_position_embeddings=64, **named(LABELS.values()),
    )  # fmt: skip
    return save_model(folder, transformers.DistilBertForSequenceClassification(config))


def roberta(folder, task):
    """Positions begin behind the padding, so that 66 of them hold 64 tokens."""
    kinds = {
        "question-answering": transformers.RobertaForQuestionAnswering,
        "token-classification": transformers.RobertaForTokenClassification,
        "fill-mask": transformers.RobertaForMaskedLM,
    }
    torch.manual_seed(7)
    save_tokenizer(folder)
    more = named(["O", "B-PLACE", "I-PLACE"]) if task == "token-classification" else {}
    config = transformers.RobertaConfig(
        vocab_size=_WIDTH, intermediate_size=16, max_position_embeddings=66, pad_token_id=0,
        type_vocab_size=1, initializer_range=0.5, **_SMALL, **more,
    )  # fmt: skip
    return save_model(folder, kinds[task](config))


def bart_mnli(folder, task):
    torch.manual_seed(7)
    save_tokenizer(folder)
    config = transformers.BartConfig(**_BART, **named(["contradiction", "neutral", "entailment"]))
    return save_model(folder, transformers.BartForSequenceClassification(config))


_BART = {
    "vocab_size": _WIDTH, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 2,
    "eos_token_id": 3, "decoder_start_token_id": 2, "forced_eos_token_id": None, "init_std": 0.5,
}  # fmt: skip


def t5(folder, task):
    """It is told what to do with words, as the releases of T5 are."""
    torch.manual_seed(7)
    save_tokenizer(folder)
    config = transformers.T5Config(
        vocab_size=_WIDTH, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0,
        eos_token_id=3, decoder_start_token_id=0, initializer_factor=3.0,
    )  # fmt: skip
    config.task_specific_params = {
        "summarization": {"prefix": "what is ", "max_length": 9, "num_beams": 2},
        "translation_en_to_de": {"prefix": "where is ", "max_length": 9},
    }
    return save_model(folder, transformers.T5ForConditionalGeneration(config))


_LETTERS = ["\u2581", *"abcdefghijklmnopqrstuvwxyz.,?"]


def _many_languages(folder, kind, config_kind, tokenizer):
    tokenizer.save_pretrained(folder)
    languages = getattr(tokenizer, "lang_token_to_id", {"": len(tokenizer) - 1})
    most = max(languages.values())
    said = {**_BART, "vocab_size": most + 1, "pad_token_id": 1, "bos_token_id": 0}
    said |= {"eos_token_id": 2, "decoder_start_token_id": 2}
    return save_model(folder, kind(config_kind(**said)))


def nllb(folder, task):
    torch.manual_seed(7)
    vocab = {each: n for n, each in enumerate(["<s>", "<pad>", "</s>", "<unk>", *_LETTERS])}
    tokenizer = transformers.NllbTokenizer(
        vocab=vocab, merges=[], model_max_length=64,
        extra_special_tokens=["eng_Latn", "fra_Latn", "deu_Latn"],
    )  # fmt: skip
    kind = transformers.M2M100ForConditionalGeneration
    return _many_languages(folder, kind, transformers.M2M100Config, tokenizer)


def mbart(folder, task):
    torch.manual_seed(7)
    vocab = [
        (each, -float(n)) for n, each in enumerate(["<s>", "<pad>", "</s>", "<unk>", *_LETTERS])
    ]
    tokenizer = transformers.MBart50Tokenizer(vocab=vocab, src_lang="en_XX", model_max_length=64)
    kind = transformers.MBartForConditionalGeneration
    return _many_languages(folder, kind, transformers.MBartConfig, tokenizer)


def _sentencepiece(path):
    """A model of letters."""
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 20), model_prefix=str(path), vocab_size=27,
        model_type="char", minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    path.with_suffix(".vocab").unlink()
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{path}.model")
    return [pieces.id_to_piece(at) for at in range(len(pieces))]


def marian(folder, task):
    """Two tokenizers of sentencepiece, as those of Helsinki-NLP have them."""
    torch.manual_seed(7)
    pieces = _sentencepiece(folder / "source")
    (folder / "source.model").rename(folder / "source.spm")
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    vocab = list(dict.fromkeys(["</s>", "<unk>", *pieces, ">>fra<<", "<pad>"]))
    write_json(folder, "vocab.json", {each: n for n, each in enumerate(vocab)})
    said = {"source_lang": "en", "target_lang": "roa", "model_max_length": 64}
    write_json(folder, "tokenizer_config.json", {**said, "tokenizer_class": "MarianTokenizer"})
    last = len(vocab) - 1
    config = transformers.MarianConfig(
        **{**_BART, "vocab_size": len(vocab), "pad_token_id": last, "bos_token_id": None,
           "eos_token_id": 0, "decoder_start_token_id": last},
    )  # fmt: skip
    return save_model(folder, transformers.MarianMTModel(config))


def m2m100(folder, task):
    torch.manual_seed(7)
    pieces = _sentencepiece(folder / "letters")
    words = list(dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", *pieces]))
    write_json(folder, "words.json", {each: n for n, each in enumerate(words)})
    tokenizer = transformers.M2M100Tokenizer(
        str(folder / "words.json"),
        str(folder / "letters.model"),
        model_max_length=64,
        additional_special_tokens=["__en__", "__fr__", "__de__"],
    )
    kind = transformers.M2M100ForConditionalGeneration
    model = _many_languages(folder, kind, transformers.M2M100Config, tokenizer)
    (folder / "words.json").unlink()
    (folder / "letters.model").unlink()
    return model


def whisper(folder, task):
    torch.manual_seed(7)
    vocab = {each: n for n, each in enumerate(sorted(ByteLevel.alphabet()))}
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>",
               "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
               "<|notimestamps|>"]  # fmt: skip
    special += [f"<|{at / 50:.2f}|>" for at in range(1501)]
    tokenizer = transformers.WhisperTokenizer(
        vocab=vocab, merges=[], extra_special_tokens=special[1:]
    )
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=16).save_pretrained(folder)
    ids = {each: tokenizer.convert_tokens_to_ids(each) for each in special}
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=16, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, max_target_positions=64, init_std=0.5,
        decoder_start_token_id=ids["<|startoftranscript|>"], pad_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|endoftext|>"],
    )  # fmt: skip
    model = save_model(folder, transformers.WhisperForConditionalGeneration(config))
    model.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id, eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id, max_length=64, is_multilingual=True,
        lang_to_id={each: ids[each] for each in ("<|en|>", "<|de|>")},
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"], return_timestamps=False,
        suppress_tokens=[], begin_suppress_tokens=[],
    )  # fmt: skip
    model.generation_config.save_pretrained(folder)
    return model


def blip(folder, task):
    torch.manual_seed(7)
    save_tokenizer(folder)
    size = {"height": 32, "width": 32}
    transformers.BlipImageProcessor(size=size).save_pretrained(folder)
    text = {**_SMALL, "vocab_size": _WIDTH, "intermediate_size": 16, "bos_token_id": 2,
            "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0, "initializer_range": 0.5,
            "encoder_hidden_size": 16, "max_position_embeddings": 64}  # fmt: skip
    vision = {**_SMALL, "image_size": 32, "patch_size": 16, "intermediate_size": 16}
    config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    return save_model(folder, transformers.BlipForConditionalGeneration(config))


def speecht5(folder, task):
    torch.manual_seed(7)
    _sentencepiece(folder / "spm_char")
    tokenizer = transformers.SpeechT5Tokenizer(str(folder / "spm_char.model"))
    tokenizer.save_pretrained(folder)
    config = transformers.SpeechT5Config(
        vocab_size=len(tokenizer), hidden_size=16, encoder_layers=1, encoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16,
        num_mel_bins=8, speaker_embedding_dim=4, speech_decoder_prenet_units=8,
        speech_decoder_postnet_units=8, conv_dim=(8,), conv_stride=(5,), conv_kernel=(10,),
    )  # fmt: skip
    return save_model(folder, transformers.SpeechT5ForTextToSpeech(config))


_SEES = (
    "{% for m in messages %}{{ m.role }} : {% for c in m.content %}"
    "{% if c.type == 'text' %}{{ c.text }}{% elif m.role == 'user' %}<image>{% endif %}"
    "{% endfor %} . {% endfor %}"
)
"""It shows a picture to the model only where a user sent it."""


def llava(folder, task):
    """A model that sees pictures of 32 x 32 in four parts."""
    torch.manual_seed(7)
    tokenizer = save_tokenizer(folder, most=256)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    size = {"height": 32, "width": 32}
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    transformers.LlavaProcessor(
        image_processor=images, tokenizer=tokenizer, patch_size=16, chat_template=_SEES,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip
    vision = transformers.CLIPVisionConfig(
        **_SMALL, image_size=32, patch_size=16, intermediate_size=16, projection_dim=16
    )
    text = transformers.LlamaConfig(
        **_SMALL, vocab_size=len(tokenizer), intermediate_size=16, max_position_embeddings=256,
        initializer_range=0.5, bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=len(tokenizer) - 1,
        vision_feature_layer=-1,
    )  # fmt: skip
    return save_model(folder, transformers.LlavaForConditionalGeneration(config))
