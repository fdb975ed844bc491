"""The words of the formulas that the verifier reads: relations, operators, functions, environments."""

GREEK = set(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho varrho sigma "
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell".split()
)
RELATIONS = {
    "=": "=", "<": "<", ">": ">", "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥",
    "ne": "≠", "neq": "≠", "approx": "≈", "simeq": "≈", "in": "∈", "notin": "∉", "ll": "≪", "gg": "≫", "perp": "⊥",
    "lt": "<", "gt": ">", "equiv": "=", "coloneqq": "=", "cong": "≅", "sim": "∼", "propto": "∝", "to": "→",
    "rightarrow": "→", "longrightarrow": "→", "mapsto": "↦", "subset": "⊂", "subseteq": "⊆", "implies": "⟹",
    "Rightarrow": "⟹", "Longrightarrow": "⟹", "iff": "⟺", "Leftrightarrow": "⟺", "Longleftrightarrow": "⟺",
    "not": "not",
}  # fmt: skip
OPERATORS = {
    "+": "+", "-": "-", "−": "-", "/": "/", "cdot": "·", "times": "×", "div": "/", "otimes": "⊗", "odot": "⊙",
    "circ": "∘", "pm": "±", "mp": "∓", "*": "·", "ast": "·", "bullet": "·",
}  # fmt: skip
UPRIGHT = set("operatorname mathrm text textrm mathsf textnormal mathit mathtt texttt textbf".split())
FUNCTIONS = set(
    "det dim exp log ln lg sin cos tan arcsin arccos arctan sinh cosh tanh min max gcd arg ker sup inf".split()
)
COMPUTED = (FUNCTIONS - set("arg ker sup inf".split())) | set("rank tr diag sign sgn vec mean var std nnz".split())
SAME = set("mathbf boldsymbol bm mathcal mathscr displaystyle textstyle boxed bold underline".split())
IGNORED = set(
    ", ; : ! > displaystyle textstyle limits nolimits big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr "
    "bigm Bigm left right middle nonumber notag thinspace".split()
) | {" ", "\n"}
BREAKS = {"quad", "qquad", "\\", "newline"}
OPENING = {
    "lbrace": "{", "{": "{", "lfloor": "⌊", "lceil": "⌈", "langle": "⟨", "lVert": "‖", "lvert": "|", "lbrack": "[",
}  # fmt: skip
CLOSING = {
    "rbrace": "}", "}": "}", "rfloor": "⌋", "rceil": "⌉", "rangle": "⟩", "rVert": "‖", "rvert": "|", "rbrack": "]",
}  # fmt: skip
SINGLE = {
    "|": ("bar", "‖"), "Vert": ("bar", "‖"), "vert": ("bar", "|"), "mid": ("bar", "|"), "%": ("post", "%"),
    "prime": ("prime", "′"), "dots": ("dots", "…"), "ldots": ("dots", "…"), "cdots": ("dots", "…"),
    "dotsb": ("dots", "…"), "dotsc": ("dots", "…"), "vdots": ("dots", "…"), "infty": ("letter", "infty"),
    "top": ("word", "T"), "intercal": ("word", "T"), "dagger": ("word", "dagger"), "partial": ("partial", "∂"),
    "nabla": ("partial", "∇"), "degree": ("post", "°"), "colon": ("break", ":"),
}  # fmt: skip
GRIDS = set("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array cases".split())
LINES = set("aligned align align* gathered gather gather* split equation equation* multline".split())
CONNECTIVES = {"⟹", "⟺"}
SEPARATING = set("and or where with for if so hence thus then but all otherwise while when i.e.".split())
SEPARATING |= {"for all", "for every", "that is"}
ACCENTS = {
    "bar": "bar", "hat": "hat", "widehat": "hat", "tilde": "tilde", "widetilde": "tilde", "vec": "vec",
    "overline": "bar", "dot": "dot", "check": "check",
}  # fmt: skip
OTHER_NAMES = {"Tr": "tr", "trace": "tr", "rk": "rank", "Rank": "rank"}
