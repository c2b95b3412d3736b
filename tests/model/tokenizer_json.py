#!/usr/bin/env python3
"""Holds GRETA's reading of tokenizer.json against PyPI's tokenizers, family by family.

    python3 tests/model/tokenizer_json.py PATH_OF/tokenizer_ids [--strings N] [--vocabularies DIR] [FAMILY...]

Each family's tokenizer.json is trained here in the form in which the family publishes it (normalizer, pre-tokenizer,
added tokens, post-processor, decoder), on the sources of this project. With --vocabularies also those of llama.cpp's
ggml-vocab-*.gguf in DIR (needs gguf): their tokens and merges, in the same forms. N strings a tokenizer (2000): random
bytes, code points and code, emoji, right-to-left, white space, special tokens, all of them mixed.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError:
    print("skipped: tokenizers is missing")
    sys.exit(77)

ROOT = pathlib.Path(__file__).parents[2]
GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
CJK = r"[一-龥぀-ゟ゠-ヿ]+"
S = "\u2581"
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(use_regex=False, space=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=use_regex)


def starting(text, *parts):
    """A post-processor that puts a token first, beside others."""
    def make(tokenizer):
        template = processors.TemplateProcessing(
            single=f"{text} $A", pair=f"{text} $A {text} $B:1", special_tokens=[(text, tokenizer.token_to_id(text))]
        )
        return processors.Sequence([*parts, template]) if parts else template

    return make


def spelled(*texts, **flags):
    return [AddedToken(text, **({"special": True, "normalized": False} | flags)) for text in texts]


METASPACE = pre_tokenizers.Metaspace(S, "first", False)
LLAMA2_DECODER = decoders.Sequence(
    [decoders.Replace(S, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
SEQUENCE = pre_tokenizers.Sequence

# name: model's options, normalizer, pre-tokenizer, decoder, added tokens, post-processor
FAMILIES = {
    "gpt2": ({}, None, byte_level(True), decoders.ByteLevel(), spelled("<|endoftext|>", normalized=True),
             lambda t: processors.ByteLevel(trim_offsets=True)),
    "roberta": ({}, None, byte_level(True, True), decoders.ByteLevel(),
                spelled("<s>", "</s>") + spelled("<mask>", lstrip=True),
                lambda t: processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))),
    "llama3": ({"ignore_merges": True}, None, SEQUENCE([split(LLAMA3), byte_level()]), decoders.ByteLevel(),
               spelled("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>"),
               starting("<|begin_of_text|>", processors.ByteLevel(trim_offsets=True))),
    "qwen2": ({}, normalizers.NFC(), SEQUENCE([split(QWEN2), byte_level()]), decoders.ByteLevel(),
              spelled("<|endoftext|>", "<|im_start|>", "<|im_end|>")
              + spelled("<tool_call>", "</tool_call>", "<think>", special=False),
              lambda t: processors.ByteLevel(trim_offsets=False)),
    "gpt4o": ({"ignore_merges": True}, None, SEQUENCE([split(GPT4O), byte_level()]), decoders.ByteLevel(),
              spelled("<|endoftext|>", "<|start|>", "<|message|>"), None),
    "smollm": ({}, None, SEQUENCE([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
               decoders.ByteLevel(), spelled("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"), None),
    "deepseek3": ({}, normalizers.Sequence([]),
                  SEQUENCE([split(r"\p{N}{1,3}"), split(CJK), split(DEEPSEEK3), byte_level()]), decoders.ByteLevel(),
                  spelled("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", special=False)
                  + spelled("<｜tool▁call｜>", normalized=True),
                  starting("<｜begin▁of▁sentence｜>")),
    "deepseek_coder": ({}, None,
                       SEQUENCE([split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(CJK),
                                 pre_tokenizers.Digits(individual_digits=True), byte_level()]),
                       decoders.ByteLevel(), spelled("<|EOT|>"), None),
    "deepseek_llm": ({}, None,
                     SEQUENCE([split(r"[\r\n]"), split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+"), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
                               split(r"\s+$"), split(CJK), pre_tokenizers.Digits(individual_digits=True), byte_level()]),
                     decoders.ByteLevel(), spelled("<｜end▁of▁sentence｜>", normalized=True), None),
    "falcon": ({}, None,
               SEQUENCE([pre_tokenizers.Punctuation("contiguous"), byte_level(True), pre_tokenizers.Digits(False),
                         split("[0-9][0-9][0-9]")]),
               decoders.ByteLevel(), spelled("<|endoftext|>", ">>TITLE<<"), None),
    "bloom": ({}, None, SEQUENCE([split(r" ?[^(\s|[.,!?…。，、।۔،])]+"), byte_level()]), decoders.ByteLevel(),
              spelled("<unk>", "<s>", "</s>", "<pad>"), None),
    "tekken": ({"ignore_merges": True}, None, SEQUENCE([split(GPT4O.replace(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "")
                                                              .replace(r"\p{N}{1,3}", r"\p{N}")), byte_level()]),
               decoders.ByteLevel(), spelled("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), starting("<s>")),
    "llama2": ({"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"},
               normalizers.Sequence([normalizers.Prepend(S), normalizers.Replace(" ", S)]), None, LLAMA2_DECODER,
               spelled("<unk>", "<s>", "</s>"), starting("<s>")),
    "llama2_metaspace": ({"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}, None, METASPACE,
                         LLAMA2_DECODER, spelled("<unk>", "<s>", "</s>"), starting("<s>")),
    "phi3": ({"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"},
             normalizers.Sequence([normalizers.Prepend(S), normalizers.Replace(" ", S)]), None, LLAMA2_DECODER,
             spelled("<unk>", "<s>", "<|endoftext|>") + spelled("</s>", rstrip=True, special=False)
             + spelled("<|assistant|>", "<|user|>", "<|end|>", rstrip=True), None),
    "gemma": ({"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}, normalizers.Replace(" ", S),
              pre_tokenizers.Split(" ", "merged_with_previous"),
              decoders.Sequence([decoders.Replace(S, " "), decoders.ByteFallback(), decoders.Fuse()]),
              spelled("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
              + spelled("\n\n", "\n\n\n", S * 2, S * 3, "<table>", special=False), starting("<bos>")),
    # Forms that no family above has.
    "odd": ({"unk_token": "<unk>"},
            normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase(),
                                  normalizers.Replace(Regex(r"\s{2,}"), " "), normalizers.Strip()]),
            SEQUENCE([split(r"[^\S\u3000]|[\p{L}&&[^\p{Lu}]]+|[\w-]", "removed", True), pre_tokenizers.Metaspace(S, "always", True)]),
            decoders.Metaspace(S, "always"), spelled("<unk>") + spelled("ab", single_word=True, special=False)
            + spelled("<x>", lstrip=True, rstrip=True, special=False, normalized=True), None),
    "behaviors": ({}, normalizers.NFKC(),
                  SEQUENCE([split(r"[a-c]", "merged_with_previous"), split(r"\.", "merged_with_next"),
                            split(r"\w{1,2}+", "contiguous"), pre_tokenizers.WhitespaceSplit(), byte_level()]),
                  decoders.ByteLevel(), spelled("<|endoftext|>"), None),
    "words": ({"unk_token": "<unk>"}, normalizers.NFD(), pre_tokenizers.Whitespace(), None, spelled("<unk>"), None),
}


def corpus():
    for folder in ("src", "docs", "prompts", "bench"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".cpp", ".h", ".md", ".txt"):
                yield path.read_text(errors="replace")
    yield "今日は世界 你好 안녕하세요 Привет, мир! שלום עולם مرحبا بالعالم Größe Übermaß naïve café ñandú 😀👍🏽 𝔘𝔫𝔦 " * 20


def build(name, vocabulary=None):
    options, normalizer, pre_tokenizer, decoder, added, post_processor = FAMILIES[name]
    tokenizer = Tokenizer(models.BPE(**{k: v for k, v in options.items() if k != "unk_token" or not vocabulary}))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        tokenizer.decoder = decoder
    if vocabulary is None:
        special = [t for t in added if t.special]
        letters = pre_tokenizers.ByteLevel.alphabet() if isinstance(decoder, decoders.ByteLevel) else []
        trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=special, initial_alphabet=letters,
                                      show_progress=False, limit_alphabet=500)
        if not isinstance(decoder, decoders.ByteLevel) and pre_tokenizer is None:
            tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # for training only: words, not whole files
        tokenizer.train_from_iterator(corpus(), trainer)
        if pre_tokenizer is None:
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([])
        document = json.loads(tokenizer.to_str())
        if pre_tokenizer is None:
            document["pre_tokenizer"] = None
        if options.get("byte_fallback"):
            vocab = document["model"]["vocab"]
            for text in BYTES:
                vocab.setdefault(text, len(vocab))
        document["model"]["ignore_merges"] = options.get("ignore_merges", False)
        tokenizer = Tokenizer.from_str(json.dumps(document))
    else:
        vocab, merges = vocabulary
        tokenizer.model = models.BPE(vocab=vocab, merges=merges, **options)
    tokenizer.add_special_tokens([t for t in added if t.special])
    tokenizer.add_tokens([t for t in added if not t.special])
    if post_processor is not None:
        tokenizer.post_processor = post_processor(tokenizer)
    return tokenizer


def strings(count, added, seed):
    rng = random.Random(seed)
    code = "\n".join(corpus())
    emoji = ["😀", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☺", "1️⃣"]
    rtl = ["שָׁלוֹם", "مرحباً", "עולם", "العَرَبِيَّة", "\u200f", "\u202eabc\u202c", "١٢٣", "۴۵۶"]
    spaces = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u2003", "\u3000", "\u200b", "\u0085", "\x0b", "\u180e"]
    words = ["I'm", "don't", "WE'LL", "it’s", "naïve", "e\u0301", "ﬁ", "Å", "가", "각", "ſ", "İstanbul", "ΣΑΣ", "x²", "½",
             "12345", "3.14", "1,000,000", "ab", "abc", "你好世界", "カタカナ", "ไทย", "हिन्दी", "Ⅷ", "①", "𝟘", "\x00", "\x7f"]

    def one():
        kind = rng.randrange(9)
        if kind == 0:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(40))).decode("latin-1")
        if kind == 1:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(40))).decode("utf-8", "replace")
        if kind == 2:
            at = rng.randrange(len(code) - 200)
            return code[at : at + rng.randrange(200)]
        if kind == 3:
            return "".join(rng.choice(emoji + spaces) for _ in range(rng.randrange(12)))
        if kind == 4:
            return "".join(rng.choice(rtl + spaces) for _ in range(rng.randrange(12)))
        if kind == 5:
            points = (rng.randrange(0x110000) for _ in range(rng.randrange(20)))
            return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
        if kind == 6:
            points = (rng.randrange(0x3000) for _ in range(rng.randrange(30)))
            return "".join(map(chr, points))
        pool = added + added + spaces + words + (emoji + rtl if kind == 8 else [])
        return "".join(rng.choice(pool) + (" " if rng.random() < 0.3 else "") for _ in range(rng.randrange(14)))

    return ["", " ", "  ", "a", *(one() for _ in range(count - 4))]


def compare(program, name, tokenizer, count):
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    texts = strings(count, added, name)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
        write_model(folder, tokenizer.get_vocab_size(with_added_tokens=True))
        asked = "".join(json.dumps(text) + "\n" for text in texts)
        answer = subprocess.run([program, folder], input=asked, capture_output=True, text=True)
        if answer.returncode != 0:
            print(f"{name}: {answer.stderr.strip()}")
            return 1
    wrong = 0
    for text, line in zip(texts, answer.stdout.splitlines(), strict=True):
        expected, ours = tokenizer.encode(text).ids, json.loads(line)
        if expected == ours:
            continue
        wrong += 1
        if wrong <= 3:
            print(f"{name}: {text!r}\n  tokenizers {[tokenizer.id_to_token(i) for i in expected]}\n"
                  f"  greta      {[tokenizer.id_to_token(i) for i in ours]}")
    print(f"{name}: {wrong} of {len(texts)} strings differ")
    return wrong


def write_model(folder, rows):
    """The smallest checkpoint that has an embedding of so many rows."""
    config = {"model_type": "llama", "hidden_size": 2, "num_hidden_layers": 1, "intermediate_size": 2,
              "num_attention_heads": 1, "rms_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "F16", "shape": [rows, 2],
                                                       "data_offsets": [0, rows * 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(rows * 4))


# Which form llama.cpp's vocabularies are published in.
VOCABULARIES = {"gpt-2": "gpt2", "llama-bpe": "llama3", "qwen2": "qwen2", "deepseek-coder": "deepseek_coder",
                "deepseek-llm": "deepseek_llm", "falcon": "falcon", "starcoder": "smollm", "command-r": "smollm"}


def vocabulary_of(path):
    import gguf

    reader = gguf.GGUFReader(path)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = reader.fields["tokenizer.ggml.merges"].contents()
    vocab = {}
    for i, text in enumerate(tokens):
        vocab.setdefault(text, i)
    return vocab, [tuple(merge.split(" ", 1)) for merge in merges]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--strings", type=int, default=2000)
    parser.add_argument("--vocabularies", type=pathlib.Path)
    arguments = parser.parse_args()
    wrong = 0
    for name in arguments.families or FAMILIES:
        wrong += compare(arguments.program, name, build(name), arguments.strings)
    if arguments.vocabularies:
        for vocabulary, form in VOCABULARIES.items():
            path = arguments.vocabularies / f"ggml-vocab-{vocabulary}.gguf"
            wrong += compare(arguments.program, f"{vocabulary}'s vocabulary", build(form, vocabulary_of(path)),
                             arguments.strings)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
