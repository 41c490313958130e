"""Sounds from strangers, and sounds for them: WAV by itself, FLAC, Ogg and MP3 with soundfile.

Rules it keeps:
 * a sound is one channel of float32 between -1 and 1, at the rate that its model wants;
 * how long it is is known before it is unpacked: at most `MAX_SECONDS`. What a header claims beyond
   the bytes that came is no length: a WAV file that was written to a pipe claims four gigabytes;
 * only formats that are common are tried, known by how they begin;
 * what cannot be read is an error with a sentence.

>>> sound = read_audio(as_wav(numpy.zeros(800, "f4"), 8000), 16000)
>>> sound.shape, sound.dtype.name
((1600,), 'float32')
"""

import importlib
import io
import math
import wave
from fractions import Fraction
from typing import Any, Final

import numpy
import torch

from p2phub.errors import UnsupportedError, UsageError
from p2phub.formats.limits import MIB

MAX_BYTES: Final = 256 * MIB
MAX_SECONDS: Final = 3600
_RATES: Final = (1000, 384_000)
"""Samples in a second."""
_MAX_CHANNELS: Final = 32
_MAX_SAMPLES: Final = 1 << 28
"""Samples of all channels together: 1 GiB of memory."""
_MAX_STEP: Final = 1000
"""Samples of one step of the filter: two rates without a common part are met within 1e-6."""
_BEGINS: Final = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM")
"""How files of WAV, FLAC, Ogg (Vorbis, Opus), MP3 and AIFF begin; MP3 also with 11 bits set."""
_ENDLESS: Final = 1 << 40
"""Samples from which on a header only says that it does not know how many there are."""
_WANTED: Final = "send WAV, FLAC, Ogg or MP3, whole"
_ZEROS: Final = 6
"""Crossings of zero of the filter to each side: as torchaudio has it."""
_ROLL_OFF: Final = 0.99


def read_audio(data: bytes, rate: int) -> Any:
    """The samples at `rate`. Raises `UsageError`; `UnsupportedError` for what has no reader."""
    if len(data) > MAX_BYTES:
        raise UsageError(f"the sound has {len(data)} bytes; at most {MAX_BYTES} are taken")
    if not data:
        raise UsageError("the sound is empty", remedy="send the bytes of a WAV file")
    try:
        samples, own = _read_wave(data)
    except (wave.Error, EOFError, RuntimeError, ValueError):  # the library looks for no lies
        samples, own = _read_other(data)
    if not len(samples):
        raise UsageError("the sound has no samples")
    if not numpy.isfinite(samples).all():
        raise UsageError("the sound has samples that are no numbers")
    return resample(samples.astype("f4"), own, rate)


def as_wav(samples: Any, rate: int) -> bytes:
    """A WAV file of 16 bits and one channel."""
    whole = (numpy.clip(samples, -1, 1) * 32767).round().astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
    return out.getvalue()


def resample(samples: Any, own: int, rate: int) -> Any:
    """The same sound with `rate` samples in a second: a sinc with a Hann window.

    >>> wave = numpy.sin(numpy.arange(8000) / 8000 * 440 * 2 * numpy.pi).astype("f4")
    >>> wanted = numpy.sin(numpy.arange(16000) / 16000 * 440 * 2 * numpy.pi)
    >>> bool(abs(resample(wave, 8000, 16000) - wanted)[100:-100].max() < 0.01)
    True
    """
    if own == rate:
        return samples
    new, old = Fraction(rate, own).limit_denominator(_MAX_STEP).as_integer_ratio()
    lowest = min(old, new) * _ROLL_OFF
    width = math.ceil(_ZEROS * old / lowest)
    places = torch.arange(-width, width + old, dtype=torch.float64) / old
    times = torch.arange(0, -new, -1, dtype=torch.float64)[:, None] / new + places
    times = (times * lowest).clamp(-_ZEROS, _ZEROS)
    window = torch.cos(times * math.pi / _ZEROS / 2) ** 2
    kernels = (torch.sinc(times) * window * (lowest / old)).float()[:, None]
    padded = torch.nn.functional.pad(torch.from_numpy(samples), (width, width + old))
    out = torch.nn.functional.conv1d(padded[None, None], kernels, stride=old)
    length = math.ceil(new * len(samples) / old)
    return out[0].T.reshape(-1)[:length].contiguous().numpy()


def _read_wave(data: bytes) -> tuple[Any, int]:
    """Raises what `wave` does for what is no such file, `UsageError` for one that is not read."""
    with wave.open(io.BytesIO(data), "rb") as file:
        rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
        frames = min(file.getnframes(), len(data) // max(1, width * channels))
        _check_length(frames, rate, channels)
        packed = file.readframes(frames)
    packed = packed[: len(packed) - len(packed) % (width * channels)]
    if width == 1:
        samples = (numpy.frombuffer(packed, "u1").astype("f4") - 128) / 128
    elif width == 2:
        samples = numpy.frombuffer(packed, "<i2").astype("f4") / (1 << 15)
    elif width == 3:
        parts = numpy.frombuffer(packed, "u1").reshape(-1, 3)
        wide = numpy.zeros((len(parts), 4), "u1")
        wide[:, 1:] = parts
        samples = wide.view("<i4")[:, 0].astype("f4") / (1 << 31)
    elif width == 4:
        samples = numpy.frombuffer(packed, "<i4").astype("f4") / (1 << 31)
    else:
        raise UsageError(f"the sound has {8 * width} bits a sample; 8, 16, 24 and 32 are read")
    return samples.reshape(-1, channels).mean(axis=1), rate


def _is_sound(data: bytes) -> bool:
    """Whether it begins as one of the formats that are read."""
    mp3 = data[:1] == b"\xff" and data[1:2] >= b"\xe0"
    return mp3 or data.startswith(_BEGINS)


def _read_other(data: bytes) -> tuple[Any, int]:
    if not _is_sound(data):
        raise UsageError("this is no sound that can be read", remedy=_WANTED)
    try:
        soundfile: Any = importlib.import_module("soundfile")
    except (ImportError, OSError) as error:
        raise UnsupportedError(
            "sounds that are no WAV files of whole numbers need soundfile, which is not installed",
            remedy="send such a WAV file, or: pip install soundfile",
        ) from error
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels = int(file.samplerate), int(file.channels)
            if file.frames > _ENDLESS:
                raise UsageError(
                    "the sound does not say how long it is", remedy="send it as a WAV file"
                )
            _check_length(file.frames, rate, channels)
            samples = file.read(dtype="float32", always_2d=True)
            return samples.mean(axis=1), rate
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise UsageError("this is no sound that can be read", remedy=_WANTED) from error


def _check_length(frames: int, rate: int, channels: int) -> None:
    if not _RATES[0] <= rate <= _RATES[1] or not 1 <= channels <= _MAX_CHANNELS:
        raise UsageError(f"a sound of {channels} channels and {rate} samples a second is not read")
    if frames > MAX_SECONDS * rate or frames * channels > _MAX_SAMPLES:
        raise UsageError(
            f"the sound is {frames / rate:.0f} seconds long in {channels} channels; at most"
            f" {MAX_SECONDS} seconds and {_MAX_SAMPLES} samples are taken",
            remedy="send it in parts",
        )
