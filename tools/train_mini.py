"""Make the embedded encoder ``mini`` from its ingredients, in one command.

    python -m tools.train_mini --data ../shared/data --weights ../shared/weights/tiny_vit_5m_224.in22k.safetensors

Every stage leaves its output under ``--work`` (named by a hash of its settings) and is skipped when
that is there; the long ones keep checkpoints. Stopped and called again, it goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from tools.mini.align import AlignSettings, train_alignment
from tools.mini.choosing import retrieval, template_auroc
from tools.mini.council import MEMBERS, Council, train_council
from tools.mini.ingredients import LATER_DRAWS, Ingredients, Sources, gather
from tools.mini.pictures import PictureSettings, train_pictures
from tools.mini.release import write_mapping, write_model, write_sums
from tools.mini.stage import Workshop
from tools.mini.student import StudentSettings, TextTower, tokens_of, train_student
from tools.mini.teacher import TeacherSettings, train_teacher
from tools.mini.texts import sentence_bank, templates
from tools.mini.towers import JointHeads, LastStage, pooled
from tools.mini.wordnet import FOLDER

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument(
        "--weights", type=Path, default=SHARED / "weights" / "tiny_vit_5m_224.in22k.safetensors"
    )
    parser.add_argument("--wordnet", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mini")
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "encoders" / "mini")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    shop = Workshop(options.work, options.device, options.seed)
    sources = Sources(options.data, options.weights, options.wordnet)
    Recipe(shop, sources, gather(shop, sources), options.out).make()


@dataclass
class Recipe:
    """The stages after the ingredients, in order; each method returns a stage's output and its cache key."""

    shop: Workshop
    sources: Sources
    things: Ingredients
    out: Path

    def make(self) -> None:
        """Run every stage that is not cached, report on the choosing split, write the encoder."""
        shop, captions = self.shop, [text for group in self.things.choosing_captions for text in group]
        bank = sentence_bank(shop, "choosing", captions)
        sentences = bank.embeddings[bank.rows(captions)].float()
        tokens = tokens_of(captions)

        stage = LastStage(self.sources.weights).eval()
        features, choosing, key = self.features(stage, "as published")
        heads, teacher_key = self.teacher(features, key)
        self.report("teacher", heads, choosing, heads.embed_texts(sentences))

        tower, student_key = self.student(heads, teacher_key)
        self.report("student", heads, choosing, tower.embed_all(tokens))

        stage, heads, pictures_key = self.pictures(stage, heads, teacher_key, sentences)
        features, choosing, key = self.features(stage, pictures_key)
        self.report("pictures", heads, choosing, heads.embed_texts(sentences))

        council, council_key = self.council(features, key)
        keys = [council_key, student_key]
        tower, heads, _ = self.alignment(features, choosing, council, tower, heads, keys, tokens)
        self.report("alignment", heads, choosing, tower.embed_all(tokens))
        planted = tower.embed_all(tokens_of([form("banana") for form in templates()]))
        images = heads.embed_images(choosing)
        auroc = template_auroc(images, tower.embed_all(tokens), self.things.choosing_captions, planted)
        shop.say(f"banana templates against true captions, choosing split: AUROC of -<I, T> {auroc}")
        scale = heads.log_scale.exp().item()
        sha256 = write_model(self.out, self.sources.weights, stage, heads.image, tower, scale)
        shop.say(f"{self.out}: written, sha256 {sha256}")
        write_mapping(shop, self.out, self.things, heads.embed_images(features), tower, sha256)
        write_sums(self.out)

    def report(self, name: str, heads: JointHeads, choosing: torch.Tensor, texts: torch.Tensor) -> None:
        """Retrieval on the choosing split."""
        found = retrieval(heads.embed_images(choosing), texts, self.things.choosing_captions)
        self.shop.say(f"{name} on the choosing split: {found}")

    def features(self, stage: LastStage, of: str) -> tuple[torch.Tensor, torch.Tensor, str]:
        """Pooled features of every training view and of the choosing split."""
        things = self.things
        (every, choosing), key = self.shop.cached(
            "features",
            [things.key, "pooled"] + ([of] if of != "as published" else []),
            lambda _: (pooled(stage, things.tokens), pooled(stage, things.choosing_tokens)),
        )
        return every, choosing, key

    def teacher(self, features: torch.Tensor, key: str) -> tuple[JointHeads, str]:
        """Heads on frozen features."""
        settings, things = TeacherSettings(), self.things
        state, key = self.shop.cached(
            "teacher",
            [key, asdict(settings), things.bank_key],
            lambda _: train_teacher(
                self.shop, settings, things.pairs, features, things.bank.embeddings.float()
            ),
        )
        heads = JointHeads()
        heads.load_state_dict(state)
        return heads.eval(), key

    def student(self, heads: JointHeads, key: str) -> tuple[TextTower, str]:
        """The distilled text tower."""
        settings, things = StudentSettings(), self.things
        joint = heads.embed_texts(things.bank.embeddings.float())
        state, key = self.shop.cached(
            "student",
            [key, asdict(settings), things.bank_key],
            lambda checkpoint: train_student(
                self.shop, settings, things.bank, things.share, joint, checkpoint
            ),
        )
        tower = TextTower()
        tower.load_state_dict(state)
        return tower.eval(), key

    def pictures(
        self, stage: LastStage, heads: JointHeads, key: str, sentences: torch.Tensor
    ) -> tuple[LastStage, JointHeads, str]:
        """The fine-tuned last stage and heads."""
        settings, things = PictureSettings(), self.things
        pairs = things.pairs.drawn_by([LATER_DRAWS[name] for name in things.first_of])

        def watch(stage: LastStage, heads: JointHeads) -> None:
            choosing = pooled(stage, things.choosing_tokens)
            self.report("pictures so far", heads, choosing, heads.embed_texts(sentences))

        (stage_state, heads_state), key = self.shop.cached(
            "pictures",
            [key, asdict(settings), LATER_DRAWS],
            lambda checkpoint: train_pictures(
                self.shop,
                settings,
                pairs,
                things.tokens,
                things.bank.embeddings.float(),
                stage,
                heads,
                checkpoint,
                watch,
            ),
        )
        stage, heads = LastStage(self.sources.weights), JointHeads()
        stage.load_state_dict(stage_state)
        heads.load_state_dict(heads_state)
        return stage.eval(), heads.eval(), key

    def council(self, features: torch.Tensor, key: str) -> tuple[Council, str]:
        """What several pairs of heads think of every view and text."""
        settings, things = TeacherSettings(), self.things
        pairs = things.pairs.drawn_by([LATER_DRAWS[name] for name in things.first_of])
        sentences = things.bank.embeddings.float()
        return self.shop.cached(
            "council",
            [key, asdict(settings), LATER_DRAWS, MEMBERS],
            lambda _: train_council(self.shop, settings, pairs, features, sentences),
        )

    def alignment(
        self,
        features: torch.Tensor,
        choosing: torch.Tensor,
        council: Council,
        tower: TextTower,
        heads: JointHeads,
        keys: list[str],
        tokens: torch.Tensor,
    ) -> tuple[TextTower, JointHeads, str]:
        """Both towers, aligned."""
        settings, things = AlignSettings(), self.things
        pairs = things.pairs.drawn_by([LATER_DRAWS[name] for name in things.first_of])
        joint = heads.embed_texts(things.bank.embeddings.float())

        def watch(tower: TextTower, heads: JointHeads) -> None:
            self.report("alignment so far", heads, choosing, tower.embed_all(tokens))

        state, key = self.shop.cached(
            "alignment",
            [*keys, asdict(settings), LATER_DRAWS],
            lambda checkpoint: train_alignment(
                self.shop,
                settings,
                pairs,
                things.bank.texts,
                features,
                joint,
                council,
                tower,
                heads,
                checkpoint,
                watch,
            ),
        )
        tower, heads = TextTower(), JointHeads()
        tower.load_state_dict(state["tower"])
        heads.load_state_dict(state["heads"])
        return tower.eval(), heads.eval(), key


if __name__ == "__main__":
    main()
