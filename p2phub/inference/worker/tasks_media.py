"""Tasks with pictures and sounds: what they show, what is said in them, and speech from a text.

Rules it keeps:
 * pictures and sounds are read by `images` and `audio`, whose limits hold before a library sees
   them; a pipeline is given pixels and samples, never a name of a file or an address;
 * answers have the shape that `InferenceClient` reads.
"""

from typing import Any, Final

import torch
import transformers

from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference.requests import TaskAnswer, TaskRequest
from p2phub.inference.worker.audio import as_wav, read_audio
from p2phub.inference.worker.images import read_image
from p2phub.inference.worker.tasks_generate import while_wanted, with_length
from p2phub.inference.worker.tasks_inputs import check_lengths, content, one_text, plain
from p2phub.inference.worker.tasks_model import Source, load_config, load_model, token_limit
from p2phub.inference.worker.tasks_parameters import generation
from p2phub.inference.worker.wanted import require_wanted

CLASSES: Final = {
    "image-classification": ("AutoModelForImageClassification",),
    "object-detection": ("AutoModelForObjectDetection",),
    "image-to-text": ("AutoModelForImageTextToText",),
    "audio-classification": ("AutoModelForAudioClassification",),
    "automatic-speech-recognition": ("AutoModelForCTC", "AutoModelForSpeechSeq2Seq"),
    "text-to-speech": ("AutoModelForTextToWaveform",),
}
_WINDOW: Final = 30
"""Seconds of sound that a model sees at once."""


class PictureTask:
    """image-classification and object-detection."""

    limit, tokenizer = 0, None

    def __init__(self, source: Source) -> None:
        task = source.spec.task
        self.model = load_model(source, CLASSES[task])
        self._pipeline = transformers.pipeline(
            task,
            model=self.model,
            image_processor=source.part("AutoImageProcessor"),
            device=source.kernels.device,
        )

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        picture = read_image(content(request))
        if request.task == "image-classification":
            labels = int(self.model.config.num_labels)
            parameters = {**parameters, "top_k": min(parameters.get("top_k", 5), labels)}
        return TaskAnswer(plain(self._pipeline(picture, **parameters)))


class CaptionTask:
    """image-to-text."""

    limit = 0

    def __init__(self, source: Source) -> None:
        self.model = load_model(source, CLASSES["image-to-text"])
        self.tokenizer = source.part("AutoTokenizer")
        self._processor = source.part("AutoImageProcessor")

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        pixels = self._processor(images=read_image(content(request)), return_tensors="pt")
        pixels = pixels["pixel_values"].to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            written = self.model.generate(
                pixel_values=pixels,
                **with_length(self.model, generation(parameters)),
                **while_wanted(),
            )
        require_wanted()
        text = self.tokenizer.decode(written[0], skip_special_tokens=True)
        return TaskAnswer([{"generated_text": str(text).strip()}])


class SoundTask:
    """audio-classification and automatic-speech-recognition."""

    limit, tokenizer = 0, None

    def __init__(self, source: Source) -> None:
        task = source.spec.task
        self.model = load_model(source, CLASSES[task])
        self._extractor = source.part("AutoFeatureExtractor")
        more: dict[str, Any] = {}
        if task == "automatic-speech-recognition":
            self.tokenizer = source.part("AutoTokenizer")
            more = {"tokenizer": self.tokenizer}
        self._pipeline = transformers.pipeline(
            task,
            model=self.model,
            feature_extractor=self._extractor,
            device=source.kernels.device,
            **more,
        )

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        samples = read_audio(content(request), self._extractor.sampling_rate)
        if request.task == "audio-classification":
            top_k = {"top_k": parameters.get("top_k", 5)}
            return TaskAnswer(plain(self._pipeline(samples, **parameters | top_k)))
        wanted = parameters.get("return_timestamps")
        answer = self._pipeline(samples, **self._ways(len(samples), wanted, parameters))
        require_wanted()
        found = {"text": answer["text"]}
        if wanted:
            found["chunks"] = answer.get("chunks", [])
        return TaskAnswer(plain(found))

    def _ways(self, samples: int, wanted: Any, parameters: dict[str, Any]) -> dict[str, Any]:
        """How the pipeline is to go about it: a long sound in windows."""
        chosen = generation(parameters, speech=True)
        ways: dict[str, Any] = {"generate_kwargs": chosen} if chosen else {}
        if self._pipeline.type.startswith("ctc"):
            if chosen:
                raise UsageError(
                    f"this model hears letters one by one, and takes no {', '.join(sorted(chosen))}"
                )
            wanted = "word" if wanted is True else wanted
        elif self._pipeline.type.startswith("seq2seq"):
            ways["generate_kwargs"] = {**chosen, **while_wanted()}
        if wanted:
            ways["return_timestamps"] = wanted
        if samples > _WINDOW * self._extractor.sampling_rate:
            if self._pipeline.type == "ctc":
                ways["chunk_length_s"] = _WINDOW
            elif self._pipeline.type == "seq2seq_whisper":
                ways["return_timestamps"] = wanted or True
        return ways


class SpeechTask:
    """text-to-speech."""

    def __init__(self, source: Source) -> None:
        config = load_config(source)
        if type(config) in transformers.AutoModelForTextToSpectrogram._model_mapping:
            raise UnsupportedError(
                f"{source.spec.name} ({config.model_type}) writes spectrograms, and needs a second"
                " model that makes sound of them",
                remedy="choose a model that makes sound itself, such as one of type vits",
            )
        self.model = load_model(source, CLASSES["text-to-speech"], config)
        self.tokenizer = source.part("AutoTokenizer")
        self.limit = token_limit(config, self.tokenizer) or 4096
        kind = "AutoProcessor" if source.has("processor_config.json") else ""
        self._pipeline = transformers.pipeline(
            "text-to-audio",
            model=self.model,
            tokenizer=self.tokenizer,
            processor=source.part(kind) if kind else None,
            device=source.kernels.device,
        )

    def run(self, request: TaskRequest, parameters: dict[str, Any]) -> TaskAnswer:
        text = one_text(request)
        check_lengths(self.tokenizer, self.limit, [text])
        chosen = generation(parameters)
        with torch.inference_mode():
            made = self._pipeline(text, **({"generate_kwargs": chosen} if chosen else {}))
        samples = made["audio"]
        samples = samples.mean(axis=0) if samples.ndim > 1 else samples
        return TaskAnswer(data=as_wav(samples, int(made["sampling_rate"])), media_type="audio/wav")
