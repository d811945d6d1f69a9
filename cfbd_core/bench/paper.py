"""The paper's own figures (Tables 1–5), to stand beside ours: CC3M, OpenAI's RN50 and a mapping of COCO."""

TABLE_3_RATES = (0.006, 0.005, 0.004, 0.003)

# TPR in per cent, by method and attack, at TABLE_3_RATES.
TABLE_3: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "abl": {
        "badnets": (54.66, 45.41, 47.65, 29.57),
        "blended": (49.26, 47.92, 41.77, 37.16),
        "trojan": (43.87, 31.56, 26.91, 25.19),
        "issba": (17.16, 11.28, 8.27, 7.67),
        "wanet": (24.84, 19.92, 17.28, 15.24),
    },
    "cfbd": {
        "badnets": (98.46, 100.0, 98.49, 99.45),
        "blended": (98.67, 98.96, 99.08, 98.23),
        "trojan": (99.69, 99.08, 99.02, 98.30),
        "issba": (98.38, 98.23, 98.75, 98.63),
        "wanet": (98.28, 98.27, 98.02, 99.01),
    },
}

TABLE_4: dict[str, float] = {
    "badnets": 0.9999,
    "blended": 0.9999,
    "trojan": 0.9999,
    "issba": 0.9999,
    "wanet": 0.9999,
    "mmpoison": 0.9999,
    "badclip": 0.9358,
    "sig": 0.9999,
}

TABLE_5_SHARES = (0.2, 0.4, 0.6, 0.8)

# AUROC by attack and q, at TABLE_5_SHARES of benign pairs in D_p.
TABLE_5: dict[str, dict[int, tuple[float, float, float, float]]] = {
    "badnets": {50: (0.9999, 0.9995, 0.9893, 0.9217), 400: (0.9999, 0.9995, 0.9993, 0.9905)},
    "blended": {50: (0.9999, 0.9993, 0.9887, 0.9174), 400: (0.9999, 0.9994, 0.9992, 0.9911)},
    "issba": {50: (0.9999, 0.9993, 0.9901, 0.9136), 400: (0.9999, 0.9994, 0.9993, 0.9908)},
    "wanet": {50: (0.9999, 0.9987, 0.9894, 0.9184), 400: (0.9999, 0.9994, 0.9991, 0.9909)},
    "trojan": {50: (0.9999, 0.9996, 0.9885, 0.9196), 400: (0.9999, 0.9995, 0.9989, 0.9905)},
    "sig": {50: (0.9999, 0.9999, 0.9887, 0.9166), 400: (0.9999, 0.9994, 0.9992, 0.9906)},
}

_ATTACKS_1 = (
    "badnets",
    "blended",
    "trojan",
    "issba",
    "label-consistent",
    "wanet",
    "mmpoison",
    "badclip",
    "sig",
)

# Zero-shot accuracy on ImageNet-1K in per cent, by row and attack.
TABLE_1: dict[str, dict[str, float]] = {
    row: dict(zip(_ATTACKS_1, values, strict=True))
    for row, values in {
        "clean": (59.69, 59.69, 59.69, 59.69, 59.69, 59.69, 59.69, 59.69, 59.69),
        "none": (58.69, 59.56, 59.74, 58.48, 58.28, 59.26, 58.62, 58.60, 58.87),
        "cleanclip": (53.72, 54.29, 54.95, 54.14, 55.74, 54.79, 53.62, 53.98, 53.68),
        "roclip": (40.37, 44.81, 43.78, 44.00, 42.09, 49.03, 47.47, 49.18, 45.26),
        "coarse": (31.74, 28.93, 29.42, 26.90, 32.14, 33.15, 30.76, 28.46, 29.82),
        "cfbd": (59.21, 57.99, 58.99, 59.44, 55.11, 59.67, 57.11, 57.41, 58.57),
    }.items()
}

# Attack success rate in per cent, by row and attack.
TABLE_2: dict[str, dict[str, float]] = {
    row: dict(zip(_ATTACKS_1, values, strict=True))
    for row, values in {
        "none": (100.0, 100.0, 93.11, 50.28, 83.58, 99.35, 0.16, 98.85, 80.38),
        "cleanclip": (17.13, 18.43, 21.16, 4.13, 0.01, 5.49, 0.00, 89.60, 21.72),
        "roclip": (2.36, 0.33, 5.64, 4.95, 0.00, 0.67, 0.00, 47.20, 4.23),
        "coarse": (0.00, 0.00, 0.00, 0.00, 36.72, 0.00, 0.00, 89.27, 0.00),
        "cfbd": (0.00, 0.00, 0.00, 0.00, 0.84, 0.00, 0.00, 0.00, 0.00),
    }.items()
}
