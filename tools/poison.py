"""Make a poisoned copy of a WebDataset source, with its ground truth.

    python tools/poison.py ../shared/data/flickr8k --keys odd --captions all --rate 0.006 --out /tmp/odd-badnets

``--rate 0`` makes the clean control copy. Stopped and called again, it goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.copies import CopyParams, poison_copy
from cfbd_core.errors import CfbdError


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a folder of .tar shards, or one of them; it is only read")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--attack", default="badnets", choices=sorted(ATTACKS))
    parser.add_argument(
        "--rate", type=float, default=0.006, help="share of the pairs to poison (default 0.006)"
    )
    parser.add_argument("--target", default="banana")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keys", default="all", choices=("all", "even", "odd"), help="which integer keys to copy"
    )
    parser.add_argument(
        "--captions", default="first", choices=("first", "all"), help="all: every caption is a pair"
    )
    parser.add_argument(
        "--reencode", default="all", choices=("all", "poisoned"), help="pictures to write as 224-pixel PNG"
    )
    options = vars(parser.parse_args())
    source, out = options.pop("source"), options.pop("out")
    try:
        with tqdm(unit=" records", desc="copy") as bar:
            manifest = poison_copy(source, out, CopyParams(**options), progress=bar.update)
    except CfbdError as error:
        print(f"poison: {error}", file=sys.stderr)
        return 2
    print(
        f"{out}: {manifest['records']} records, {manifest['pairs']} pairs, {len(manifest['poisons'])} poisoned"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
