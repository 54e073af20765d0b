"""Break each formula on purpose, one at a time, and see that a test notices: python tests/mutants.py [file]

Works on a copy. Prints a table of mutants and exits with 1 if one survives, or if a line to break is no longer there.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).parent.parent
#: file: (what stands there, what stands there instead); tests/test_FILE.py should notice
MUTANTS = {
    "attention": [
        ("/ math.sqrt(q.shape[-1])", "/ q.shape[-1]"),
        ("torch.softmax(scores, dim=-1)", "torch.softmax(scores, dim=-2)"),
        ("scores.masked_fill(~mask, -torch.inf)", "scores"),
        ("weights.masked_fill(~mask, 0)", "weights"),
        ("attn_mask=allowed", "attn_mask=None"),
        ("a * cos - b * sin", "a * cos + b * sin"),
        ("self.attention(self.norm_1(x), mask=mask, angles=angles)", "self.attention(x, mask=mask, angles=angles)"),
        ('4 * dim), nn.GELU(approximate="tanh")', "4 * dim), nn.ReLU()"),
        ("self.norm_q(q), self.norm_k(k), v", "self.norm_q(q), k, v"),
    ],
    "diffusion": [
        ("return 1 - tau, tau", "return tau, 1 - tau"),
        ("return noise - x_0", "return x_0 - noise"),
        ("expand(a, x_0) * noise - expand(b, x_0) * x_0", "expand(a, x_0) * noise + expand(b, x_0) * x_0"),
        ("return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()", "return alpha_bar, (1 - alpha_bar)"),
        (
            "((torch.randint(T, (n,), generator=generator) + 1) / T)",
            "(torch.randint(T, (n,), generator=generator) / T)",
        ),
        ("table[(tau * len(self.beta)).round().long()]", "table[(tau * len(self.beta) - 1).round().long().clamp(0)]"),
        ("expand(tau.clamp(min=self.tau_min), x) ** -2", "expand(tau.clamp(min=self.tau_min), x) ** -1"),
        ("(error * unknown).sum() / unknown.expand_as(error).sum()", "(error * unknown).mean()"),
        ("s * tau / (1 + (s - 1) * tau)", "s * tau / (1 + s * tau)"),
        ("* self.beta[t] * x_0 +", "* self.alpha[t] * x_0 +"),
        ("((1 - previous) / rest * self.beta[t])", "self.beta[t].clone()"),
        ("(1 - bar_next - sigma**2)", "(1 - bar_next)"),
        ("fresh.clamp(min=0).sqrt()", "fresh.clamp(min=0)"),
        ("* (v + v_next) / 2", "* v_next"),
        ("torch.where(keep, x, self.correct(", "torch.where(keep, x_0, self.correct("),
        ("r = (r - r[-1]) * r[0] / (r[0] - r[-1])", "r = r - r[-1]"),
        ("f[1:] / f[:-1]", "f[:-1] / f[1:]"),
        ("expand(tau_next - tau, x_t) * (v + v_next)", "expand(tau - tau_next, x_t) * (v + v_next)"),
        ("else x + sigma * noise", "else x + noise"),
    ],
    "denoiser": [
        (
            "unconditional + scale * (conditional - unconditional)",
            "conditional + scale * (unconditional - conditional)",
        ),
        ("torch.where(known, 0.0, tau)", "tau.expand(known.shape)"),
        ("tokens + self.position + time.unsqueeze(2)", "tokens + self.position"),
        ("text.tokens, text.mask)", "text.tokens)"),
        ('"(b f) c h w -> b (h w) f c"', '"(f b) c h w -> b (h w) f c"'),
        ("column.flatten()[:, None] * slower]", "row.flatten()[:, None] * slower]"),
    ],
    "text": [
        ("block(x, mask, angles)", "block(x, None, angles)"),
        ("(x * weight).sum(1) / weight.sum(1)", "x.mean(1)"),
        ("block(x, mask, angles)", "block(x, mask)"),
    ],
    "borrowed": [
        ("last[i, owner == w].mean(0)", "last[i, owner == w][0]"),
        ("/ len(h) + ridge * torch.eye", "/ len(h) + torch.eye"),
        ("self.own.read(words, mask)", "self.own(ids, mask)"),
    ],
    "codec": [
        ("translate(latents, shift / self.down)", "translate(latents, shift)"),
        ("affine[:, :, 2] = -2 * shift", "affine[:, :, 2] = 2 * shift"),
        ("10 * torch.log10(4 /", "10 * torch.log10(1 /"),
    ],
    "optim": [
        ("list(module.parameters()), 1 - d)", "list(module.parameters()), d)"),
        ("        self.updates += 1\n", ""),
        ('alpha=group["momentum"]).flatten(1)', "alpha=0).flatten(1)"),
        ("0.2 * max(n, m) ** 0.5", "0.2 * min(n, m) ** 0.5"),
        ("max(1 - fraction, 0.0)", "max(fraction, 0.0)"),
    ],
    "stage_run": [
        ("            self.ema.update(self.task)\n        else:", "            pass\n        else:"),
        (  # the average takes in the weights of before the step
            "        for optimiser in self.optimisers:\n            if fine:",
            "        self.ema.update(self.task)\n        for optimiser in self.optimisers:\n            if fine:",
        ),
        ("            if fine:\n                optimiser.step()", "            optimiser.step()"),
        ("buffer.copy_(before)", "pass"),
        ("lr * schedule(fraction, self.step) * self.task.pace(fraction)", "lr"),
    ],
    "training": [
        (', "updates": stage.ema.updates', ""),
        ("if stage.skipped_in_a_row == PATIENCE", "if False"),
    ],
    "checkpoint": [
        ('if metadata.pop("sha256", None) != _digest(tensors, metadata)', 'if metadata.pop("sha256", None) is None'),
        ("            os.replace(folder / LATEST, folder / PREVIOUS)\n", "            pass\n"),
        ("(memory_format=torch.contiguous_format)", "()"),
    ],
    "evaluation": [
        ("- 2 * cross", "- cross"),
        (" + q / (4 * n)", ""),
    ],
}


def verdict(folder: Path, module: str, old: str, new: str) -> str:
    """What the tests of a module say about one mutant."""
    path = folder / "t2vlearn" / f"{module}.py"
    text = path.read_text()
    if (times := text.count(old)) != 1:
        return f"{times} places"
    path.write_text(text.replace(old, new))
    try:
        return {0: "SURVIVED", 1: "caught"}.get(run(folder, module), "broken")
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        path.write_text(text)


def run(folder: Path, module: str) -> int:
    """Exit status of a module's tests in a copy of the project."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/test_{module}.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=600).returncode


def main() -> None:
    wanted = [(m, *pair) for m, pairs in MUTANTS.items() for pair in pairs if sys.argv[1:] in ([], [m])]
    table = Table("file", "instead of", "there stands", "verdict")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("t2vlearn", "tests"):
            shutil.copytree(ROOT / part, folder / part)
        shutil.copy(ROOT / "pyproject.toml", folder)
        modules = dict.fromkeys(mutant[0] for mutant in wanted)
        if failing := [module for module in track(modules, "unbroken") if run(folder, module)]:
            sys.exit(f"tests fail without any mutant: {', '.join(failing)}")
        verdicts = []
        for mutant in track(wanted, "mutants"):
            verdicts.append(verdict(folder, *mutant))
            table.add_row(mutant[0], *(escape(part.strip()) for part in mutant[1:]), verdicts[-1])
    Console(width=200).print(table)
    print(f"{verdicts.count('caught')} of {len(wanted)} caught")
    sys.exit(verdicts.count("caught") != len(wanted))


if __name__ == "__main__":
    main()
