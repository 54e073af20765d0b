"""Does another judge see the same? `python benchmarks/second_judge.py [--steps 7000] [--samples 400]`

The judge that ships pools what it sees over the whole frame, and loses track of two actors: it reads real clips of two badly.
The second one shares nothing with it but what it is asked and the artefacts it is hardened with. It looks for each subject in
each frame (a map over 8 x 8 cells), and reads colour, size and action from what stands there and where that goes. Half of the
clips it learns from have two actors; other scenes, other weights, real clips only. It is kept in runs/second-judge, and made
anew only if it is not there. Then both read the same clips of each split: real ones, these after the codec, and the bundled
weights'; of two actors also those with more pull. Prints a table, writes benchmarks/results/second-judge.json. An hour of one
core for the judge, and a quarter of an hour of two for the clips.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.evaluation import APART, SEED, Accuracy, prompts_of
from t2vlearn.judge import READ, train_judge
from t2vlearn.pipeline import BUNDLED, to_tensor
from t2vlearn.storage import digest_of, load_folder
from t2vlearn.world import ATTRIBUTES, PLACES, SUBJECTS, render

RESULT = Path(__file__).parent / "results" / "second-judge.json"
FOLDER = Path("runs/second-judge")
BATCH, CELLS = 25, 8
SPLITS = ("heldout", "chinese", "patterns", "two_actors")
OWN_SEED = 5000  # of its weights and scenes
PULL = 3.0  # the guidance scale that two actors follow better than the 2 which serves one


class SecondJudge(Judge):
    """For each subject and frame a map a = softmax(scores over cells); what is read is sum a v, and where sum a (y, x)."""

    def __init__(self, width: int = 32, features: int = 96):
        nn.Module.__init__(self)
        self.config = {"width": width, "features": features}
        w, d = width, features
        self.maps = nn.Sequential(
            nn.Conv2d(3, w, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * w, 2 * w, 3, padding=1), nn.ReLU(),
            nn.Conv2d(2 * w, d, 3, padding=1), nn.ReLU(),  # (b f, d, 8, 8)
        )  # fmt: skip
        self.scores = nn.Conv2d(d, len(SUBJECTS), 1)
        self.over_time = nn.Sequential(
            nn.Conv1d(d + 3, 2 * d, 3, padding=1), nn.ReLU(),
            nn.Conv1d(2 * d, 2 * d, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),  # (b 9, 8 d)
            nn.Linear(8 * d, 2 * d), nn.ReLU(),
        )  # fmt: skip
        self.place = nn.Linear(2 * d, len(PLACES))
        self.present = nn.Linear(2 * d, len(SUBJECTS))
        self.background = nn.Linear(d, 2 * d)
        self.read_out = nn.ModuleDict({name: nn.Linear(2 * d, len(ATTRIBUTES[name])) for name in READ})
        middles = (torch.arange(CELLS) + 0.5) / CELLS * 2 - 1
        self.register_buffer("at", torch.cartesian_prod(middles, middles), persistent=False)  # (64, 2)

    def see(self, clips: Tensor) -> Tensor:
        """Half clips (b, 3, 8, h, w) -> (b, 10, 2 d): the whole, and each of the nine subjects, followed over time."""
        b, _, f = clips.shape[:3]
        maps = self.maps(clips.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last))
        scores = self.scores(maps).flatten(2)  # (b f, 9, 64)
        a = scores.softmax(-1)
        what = a @ maps.flatten(2).mT  # (b f, 9, d)
        track = torch.cat([what, a @ self.at, scores.logsumexp(-1, keepdim=True)], dim=-1)  # (b f, 9, d + 3)
        track = track.unflatten(0, (b, f)).permute(0, 2, 3, 1).flatten(0, 1)  # (b 9, d + 3, f)
        subjects = self.over_time(track).unflatten(0, (b, len(SUBJECTS)))
        whole = F.relu(self.background(maps.mean((2, 3)).unflatten(0, (b, f)).mean(1)))
        return torch.cat([whole.unsqueeze(1), subjects], dim=1)

    def forward(self, seen: Tensor) -> dict[str, Tensor]:
        """Logits, as `Judge.forward`'s."""
        whole, subjects = seen[:, 0], seen[:, 1:]
        present = (subjects * self.present.weight).sum(-1) + self.present.bias
        answers = {name: head(subjects) for name, head in self.read_out.items()}
        return answers | {"place": self.place(whole), "subject": present}


def second_judge(steps: int) -> SecondJudge:
    """The one in runs/second-judge, or a new one."""
    if not (FOLDER / "config.json").exists():
        codec = TextToVideoPipeline.from_pretrained().visual_encoder.codec
        with Progress() as bars:
            bar = bars.add_task("the second judge", total=steps)
            judge = train_judge(
                codec, steps, seed=OWN_SEED, kind=SecondJudge, shares=(0.45, 0.05, 0.5),
                on_step=lambda step, loss, _: bars.update(bar, completed=step, description=f"loss {loss:.2f}"),
            )  # fmt: skip
        judge.save_pretrained(FOLDER, {"steps": steps, "seed": OWN_SEED})
    return SecondJudge.from_pretrained(FOLDER)


@torch.no_grad()
def main() -> None:
    """Train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=7000, help="of the second judge's training")
    parser.add_argument("--samples", type=int, default=400, help="captions of each split")
    parser.add_argument("--seed", type=int, default=0, help="of the captions; the reported ones are 0")
    options = parser.parse_args()
    with torch.enable_grad():
        second = second_judge(options.steps)
    pipe = TextToVideoPipeline.from_pretrained()
    judges, codec = {"first": Judge.from_pretrained(), "second": second}, pipe.visual_encoder.codec
    result = {
        "setting": {
            "steps": load_folder(FOLDER)[0]["info"]["steps"],
            "samples": options.samples,
            "seed": options.seed,
            "pull": PULL,
        },
        "weights": digest_of(BUNDLED),
        "splits": {},
    }
    with Progress() as bars:
        for split in SPLITS:
            scenes, captions = prompts_of(split, options.samples, options.seed)
            actors, base = len(scenes[0].actors), SEED + APART * options.seed
            kinds = ["real", "codec", "model"] + ["pulled"] * (actors == 2)
            read = {name: {kind: [] for kind in kinds} for name in judges}
            for i in bars.track(range(0, options.samples, BATCH), description=split):
                real = render(scenes[i : i + BATCH], 16, pipe.config.size, base, start=i)
                clips = {
                    "real": real,
                    "codec": codec.decode(codec.encode(real)).clamp(-1, 1),
                    "model": to_tensor(pipe(captions[i : i + BATCH], seed=base + i).frames),
                }
                if "pulled" in kinds:
                    more = pipe(captions[i : i + BATCH], guidance_scale=PULL, seed=base + i).frames
                    clips["pulled"] = to_tensor(more)
                for name, judge in judges.items():
                    for kind, frames in clips.items():
                        read[name][kind] += judge.read(frames, actors)
            rows = {
                name: {kind: Accuracy.of(seen[kind], scenes, captions).rows() for kind in kinds}
                for name, seen in read.items()
            }
            result["splits"][split] = rows
            for kind in kinds:
                cells = "  ".join(f"{name} {rows[name][kind]['joint']['accuracy']:.3f}" for name in judges)
                print(f"{split:>10}  {kind:>6}  joint by the {cells}", flush=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
