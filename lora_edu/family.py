"""The variants by name, alone or combined: "dora", "rslora+dora"."""

from .variants import DoRA, LoRAFA, OLoRA, PiSSA, RsLoRA, Variant, VeRA

FAMILY: dict[str, type[Variant]] = {v.name: v for v in (Variant, RsLoRA, LoRAFA, DoRA, PiSSA, OLoRA, VeRA)}


def variant_named(variant: str | Variant) -> Variant:
    """The variant of a name, or of several joined by "+", such as "rslora+dora". A `Variant` is returned as it is."""
    if isinstance(variant, Variant):
        return variant
    names = variant.split("+") if isinstance(variant, str) else [repr(variant)]
    if unknown := [name for name in names if name not in FAMILY]:
        raise ValueError(f"variant {unknown[0]!r} is unknown; there are {', '.join(map(repr, FAMILY))}")
    if len(names) == 1:
        return FAMILY[names[0]]()
    if {"lora", "vera"} & set(names) or {"pissa", "olora"} <= set(names) or len(set(names)) < len(names):
        raise ValueError(f"variant {variant!r}: these answer the same question, so they cannot be combined")
    # Each answers with super() for what it leaves alone, so a class that inherits from all of them does all of it.
    names.sort(key=list(FAMILY).index)
    body = {"name": "+".join(names), "__reduce__": lambda self: (variant_named, (self.name,))}
    combined: Variant = type("Combined", tuple(FAMILY[name] for name in names), body)()
    return combined
