"""Firefox's translation models as a translator: small networks made for a browser, tens of megabytes a pair.

Source: the project "Firefox translation models" and its engine fxtranslate, both MPL-2.0. Marian's kind of network:
M. Junczys-Dowmunt et al., "Marian: Fast Neural Machine Translation in C++", arXiv:1804.00344.
"""

import sys
from pathlib import Path

from stream.speech.host import Program


def firefox(folder: Path) -> Program:
    """Run it with `ProcessTranslator`.

    Args:
        folder: A folder in it for each pair, with the pair's files under the names that Mozilla gives them, possibly
            still compressed (.gz, .zst). All of them are loaded at the start.
    """
    return Program(
        name="firefox",
        command=(sys.executable, "-m", "stream.speech.firefox_worker", str(folder)),
        remedy=(
            "Install the engine: pip install 'visavis[languages]'. Fetch a pair of the project named Firefox "
            f"translation models, English to Spanish say: fxtranslate models add en es --cache-dir {folder}. "
            "Or put its files, model.enes.intgemm.alphas.bin, vocab.enes.spm (or srcvocab.enes.spm and "
            "trgvocab.enes.spm) and, where there is one, lex.50.50.enes.s2t.bin, "
            f"into {folder / 'en-es'}"
        ),
        start_ms=60_000,
        answer_ms=10_000,
    )
