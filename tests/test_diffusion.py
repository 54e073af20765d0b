"""The processes against closed forms, Bayes' rule, and data whose exact denoiser is known."""

import math

import numpy as np
import pytest
import torch

from t2vlearn.diffusion import DDPM, RectifiedFlow, cosine_beta, expand, linear_beta, zero_terminal_snr

T = 1000
CLOSE = {"atol": 1e-10, "rtol": 1e-10}
#: Every pair of a member and a prediction that there is.
MODELS = {
    "flow v": RectifiedFlow("v"),
    "flow x_0": RectifiedFlow("x_0"),
    **{f"ddpm {prediction}": DDPM(linear_beta(), prediction) for prediction in ("epsilon", "v", "x_0")},
    **{f"cosine {prediction}": DDPM(cosine_beta(), prediction) for prediction in ("epsilon", "v", "x_0")},
    "zero SNR v": DDPM(zero_terminal_snr(linear_beta()), "v"),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def at(t, n=1):
    """tau of step t, in float64, which tells neighbouring steps near t = 0 apart."""
    return torch.full((n,), (t + 1) / T, dtype=torch.float64)


# ------------------------------------------------------------------ schedules and levels


def test_linear_beta_is_the_papers():
    beta = linear_beta()
    assert beta.dtype == torch.float64
    np.testing.assert_allclose(beta, [1e-4 + t / (T - 1) * (0.02 - 1e-4) for t in range(T)], rtol=1e-12)


def test_cosine_beta_makes_alpha_bar_the_papers_cosine():
    beta, f = cosine_beta(), lambda t: math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2
    alpha_bar = 1.0
    for t in range(T):
        alpha_bar *= 1 - float(beta[t])
        if beta[t] < 0.999:
            assert alpha_bar == pytest.approx(f(t + 1) / f(0), rel=1e-9)
    assert (beta == 0.999).nonzero().flatten().tolist() == [T - 1]  # only the last would be 1


@pytest.mark.parametrize("beta", [linear_beta(), cosine_beta(100)], ids=["linear", "cosine"])
def test_zero_terminal_snr_stretches_the_signal_and_keeps_its_start(beta):
    before, after = DDPM(beta).alpha_bar.sqrt(), DDPM(zero_terminal_snr(beta), "v").alpha_bar.sqrt()
    assert after[-1] == 0 and float(after[0]) == pytest.approx(float(before[0]), rel=1e-9)
    # a straight line takes the old signal to the new one
    slope = (after[:-1] - after[1:]) / (before[:-1] - before[1:])
    torch.testing.assert_close(slope, slope[:1].expand_as(slope), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("beta", [linear_beta(), cosine_beta(), linear_beta(50, 0.01, 0.3)], ids=len)
def test_alpha_bar_is_the_running_product_at_every_step(beta):
    model, product = DDPM(beta), 1.0
    assert model.alpha_bar_at(torch.zeros(1)) == 1
    for t, b in enumerate(beta.tolist()):
        product *= 1 - b
        # float32, as in training: (t + 1) / T has to find its own step, not a neighbour.
        assert float(model.alpha_bar_at(torch.tensor([(t + 1) / len(beta)]))) == pytest.approx(product, rel=1e-6)


@every_model
def test_log_snr_falls_with_the_noise_level(model):
    a, b = model.coefficients(torch.arange(1, T, dtype=torch.float64) / T)
    assert (torch.diff(torch.log(a**2 / b**2)) < 0).all()
    a, b = model.coefficients(torch.tensor([0.0, 1.0]))
    assert (a[0], b[0]) == (1, 0) and a[1] < 0.01 and b[1] > 0.9999


@pytest.mark.parametrize("steps", [1, 4, 20, 1000])
def test_sampling_levels_fall_evenly_from_one_to_zero(steps):
    even = np.linspace(1, 0, steps + 1)
    np.testing.assert_allclose(RectifiedFlow().levels(steps), even, atol=1e-12)
    np.testing.assert_allclose(DDPM().levels(steps), even, atol=0.5 / T)
    assert all(level * T == pytest.approx(round(level * T)) for level in DDPM().levels(steps))


def test_shifting_multiplies_the_odds_of_the_noise():
    """tau / (1 - tau) <- s tau / (1 - tau)."""
    plain, shifted = (np.array(RectifiedFlow(shift=s).levels(10)[1:]) for s in (1, 3))
    np.testing.assert_allclose(shifted / (1 - shifted), 3 * plain / (1 - plain), atol=1e-12)


def test_rectified_flow_trains_on_logit_normal_levels():
    tau = RectifiedFlow(mean=0.8, std=0.7).sample_tau(20000, torch.Generator().manual_seed(0)).double()
    logit = torch.log(tau / (1 - tau))
    assert float(logit.mean()) == pytest.approx(0.8, abs=4 * 0.7 / 20000**0.5)
    assert float(logit.std()) == pytest.approx(0.7, abs=4 * 0.7 / 40000**0.5)
    assert float(((logit - logit.mean()) ** 3).mean()) == pytest.approx(0, abs=0.03)


def test_ddpm_trains_on_every_step_alike():
    tau = DDPM(linear_beta(8)).sample_tau(16000, torch.Generator().manual_seed(0))
    counts = torch.bincount((tau * 8).round().long(), minlength=9).tolist()
    assert counts[0] == 0 and all(abs(count - 2000) < 4 * (2000 * 7 / 8) ** 0.5 for count in counts[1:])


def test_levels_to_train_on_follow_from_the_generator():
    for model in (RectifiedFlow(), DDPM()):
        first, second, other = (model.sample_tau(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, second) and not torch.equal(first, other)


# ------------------------------------------------------------------ forward


@pytest.mark.parametrize("beta", [linear_beta(), cosine_beta()], ids=["linear", "cosine"])
def test_many_small_steps_are_the_closed_form(beta):
    """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) epsilon_t, iterated: the signal shrinks and the variances add up."""
    model, signal, variance = DDPM(beta), 1.0, 0.0
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for t, b in enumerate(beta.tolist()):
        signal, variance = math.sqrt(1 - b) * signal, (1 - b) * variance + b
        assert float(model.add_noise(one, zero, at(t))) == pytest.approx(signal, rel=1e-9)
        assert float(model.add_noise(zero, one, at(t))) ** 2 == pytest.approx(variance, rel=1e-9)


def test_rectified_flow_mixes_along_a_straight_line():
    x_0, noise = normal(4, 3, seed=1), normal(4, 3, seed=2)
    tau = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    x = RectifiedFlow().add_noise(x_0, noise, tau)
    torch.testing.assert_close(x, torch.lerp(x_0, noise, tau[:, None]), **CLOSE)
    assert torch.equal(x[0], x_0[0]) and torch.equal(x[3], noise[3])


@every_model
def test_each_frame_can_have_a_level_of_its_own(model):
    x_0, noise = normal(2, 3, 4, 5, 5, seed=1), normal(2, 3, 4, 5, 5, seed=2)
    tau = torch.tensor([[0, 0.1, 0.5, 1], [0.9, 0.9, 0, 0.3]], dtype=torch.float64)
    together = model.add_noise(x_0, noise, tau)
    for i in range(2):
        for f in range(4):
            alone = model.add_noise(x_0[i, :, f][None], noise[i, :, f][None], tau[i, f][None])
            torch.testing.assert_close(together[i, :, f], alone[0], **CLOSE)
    assert torch.equal(together[:, :, 0][:1], x_0[:, :, 0][:1])  # level 0 is clean to the last bit


def test_a_level_spreads_over_what_it_belongs_to():
    assert expand(torch.ones(2), torch.ones(2, 3, 4, 5, 6)).shape == (2, 1, 1, 1, 1)
    assert expand(torch.ones(2), torch.ones(2, 3)).shape == (2, 1)
    assert expand(torch.ones(2, 4), torch.ones(2, 3, 4, 5, 6)).shape == (2, 1, 4, 1, 1)


# ------------------------------------------------------------------ what a network predicts


@every_model
def test_the_true_prediction_stands_for_the_true_sample(model):
    x_0, noise = normal(9, 3, seed=1), normal(9, 3, seed=2)
    tau = torch.linspace(0.05, 0.95, 9, dtype=torch.float64)
    x_t, target = model.add_noise(x_0, noise, tau), model.target(x_0, noise, tau)
    torch.testing.assert_close(model.to_x_0(target, x_t, tau), x_0, atol=1e-9, rtol=1e-9)
    assert model.loss(target, x_0, noise, tau) == 0


@every_model
def test_conversions_are_inverses_for_any_prediction(model):
    guess, x_t = normal(9, 3, seed=1), normal(9, 3, seed=2)
    tau = torch.linspace(0.05, 0.95, 9, dtype=torch.float64)
    clean, (a, b) = model.to_x_0(guess, x_t, tau), model.coefficients(tau)
    noise = (x_t - expand(a, x_t) * clean) / expand(b, x_t)
    torch.testing.assert_close(model.target(clean, noise, tau), guess, atol=1e-8, rtol=1e-8)


def test_epsilon_cannot_be_had_where_nothing_is_left_of_the_data():
    with pytest.raises(ValueError, match="zero terminal SNR"):
        DDPM(zero_terminal_snr(linear_beta()), "epsilon")


@pytest.mark.parametrize("t", [0, 1, 500, 999])
def test_the_posteriors_mean_in_terms_of_the_noise(t):
    """(x_t - beta_t / sqrt(1 - alpha_bar_t) epsilon) / sqrt(alpha_t) (Ho et al. 2020, equation 11)."""
    model, x_t, noise = DDPM(linear_beta(), "epsilon"), normal(5, 3, seed=1), normal(5, 3, seed=2)
    mean, _ = model.posterior(model.to_x_0(noise, x_t, at(t, 5)), x_t, t)
    b, bar = float(model.beta[t]), float(model.alpha_bar[t])
    expected = (x_t - b / math.sqrt(1 - bar) * noise) / math.sqrt(1 - b)
    torch.testing.assert_close(mean, expected, atol=1e-8, rtol=1e-8)


def test_targets_are_what_their_names_say():
    x_0, noise, tau = normal(4, 3, seed=1), normal(4, 3, seed=2), at(400, 4)
    assert torch.equal(DDPM(prediction="epsilon").target(x_0, noise, tau), noise)
    assert torch.equal(DDPM(prediction="x_0").target(x_0, noise, tau), x_0)
    assert torch.equal(RectifiedFlow("x_0").target(x_0, noise, tau), x_0)


def test_v_is_the_speed_along_the_path():
    """Rectified flow: d x / d tau. DDPM: d x / d phi, where x = cos(phi) x_0 + sin(phi) epsilon."""
    x_0, noise, tau, h = normal(4, 3, seed=1), normal(4, 3, seed=2), at(400, 4), 1e-5
    flow = RectifiedFlow("v")
    slope = (flow.add_noise(x_0, noise, tau + h) - flow.add_noise(x_0, noise, tau - h)) / (2 * h)
    torch.testing.assert_close(flow.target(x_0, noise, tau), slope, atol=1e-8, rtol=1e-8)
    ddpm = DDPM(prediction="v")
    a, b = ddpm.coefficients(tau)
    phi = torch.atan2(b, a)[:, None]
    slope = (torch.cos(phi + h) - torch.cos(phi - h)) * x_0 + (torch.sin(phi + h) - torch.sin(phi - h)) * noise
    torch.testing.assert_close(ddpm.target(x_0, noise, tau), slope / (2 * h), atol=1e-8, rtol=1e-8)


def test_flow_predicting_x_0_has_the_velocitys_loss():
    x_0, noise, guess = (normal(6, 3, seed=seed) for seed in (1, 2, 3))
    tau = torch.linspace(RectifiedFlow.tau_min, 1, 6, dtype=torch.float64)
    x_t = RectifiedFlow().add_noise(x_0, noise, tau)
    v = (x_t - guess) / tau[:, None]
    torch.testing.assert_close(
        RectifiedFlow("x_0").loss(guess, x_0, noise, tau), RectifiedFlow("v").loss(v, x_0, noise, tau), **CLOSE
    )
    low = torch.tensor([0.0, 0.05], dtype=torch.float64)  # below tau_min the weight stays as it is there
    expected = RectifiedFlow.tau_min**-2 * (guess[:2] - x_0[:2]).square().mean()
    torch.testing.assert_close(RectifiedFlow("x_0").loss(guess[:2], x_0[:2], noise[:2], low), expected, **CLOSE)


@every_model
def test_the_loss_is_the_mean_over_frames_that_are_not_known(model):
    x_0, noise, guess = (normal(2, 3, 4, 5, 5, seed=seed) for seed in (1, 2, 3))
    known = torch.tensor([[True, False, False, True], [False, False, False, True]])
    tau = torch.where(known, 0.0, torch.tensor([[0.4], [0.7]], dtype=torch.float64))
    loss = model.loss(guess, x_0, noise, tau, known)
    error = (guess - model.target(x_0, noise, tau)).square()
    if model.prediction == "x_0" and isinstance(model, RectifiedFlow):
        error = error / torch.tensor([0.4, 0.7], dtype=torch.float64).view(2, 1, 1, 1, 1) ** 2
    torch.testing.assert_close(loss, torch.cat([error[i, :, ~known[i]].flatten() for i in range(2)]).mean(), **CLOSE)
    nonsense = torch.where(known[:, None, :, None, None], 1e6, guess)
    assert torch.equal(model.loss(nonsense, x_0, noise, tau, known), loss)


def test_unknown_predictions_are_refused():
    with pytest.raises(ValueError, match="unknown prediction 'score': choose from epsilon, v, x_0"):
        DDPM(prediction="score")
    with pytest.raises(ValueError, match="rectified flow predicts 'v' or 'x_0'"):
        RectifiedFlow("epsilon")


# ------------------------------------------------------------------ one step back


def bayes(model, x_0, x_t, t, t_next):
    """q(x_{t_next} | x_t, x_0): prior N(sqrt(bar') x_0, 1 - bar') times likelihood N(x_t; r x, 1 - r^2) as precisions."""
    alpha = 1 - model.beta.numpy()
    bar_next, r2 = np.prod(alpha[: t_next + 1]), np.prod(alpha[t_next + 1 : t + 1])
    prior, likelihood = 1 / (1 - bar_next), r2 / (1 - r2)
    mean = (prior * math.sqrt(bar_next) * x_0 + likelihood * x_t / math.sqrt(r2)) / (prior + likelihood)
    return mean, 1 / (prior + likelihood)


@pytest.mark.parametrize("beta", [linear_beta(), cosine_beta()], ids=["linear", "cosine"])
def test_the_posterior_follows_from_bayes_rule(beta):
    model, x_0, x_t = DDPM(beta), normal(5, seed=1), normal(5, seed=2)
    for t in (1, 2, 10, 500, T - 1):
        mean, variance = model.posterior(x_0, x_t, t)
        expected_mean, expected_variance = bayes(model, x_0.numpy(), x_t.numpy(), t, t - 1)
        np.testing.assert_allclose(mean, expected_mean, rtol=1e-8)
        assert float(variance) == pytest.approx(expected_variance, rel=1e-8)
    mean, variance = model.posterior(x_0, x_t, 0)
    torch.testing.assert_close(mean, x_0, **CLOSE)
    assert variance == 0


@pytest.mark.parametrize(("t", "t_next"), [(1, 0), (10, 9), (500, 499), (T - 1, T - 2), (900, 850), (60, 10)])
def test_a_step_with_eta_one_draws_from_the_posterior_and_with_eta_zero_keeps_the_noise(t, t_next):
    """Steps of one and longer ones."""
    x_0, noise = normal(5, 1, seed=1), normal(5, 1, seed=2)
    levels = at(t, 5), at(t_next, 5)
    model = DDPM(linear_beta(), eta=1.0)
    x_t = model.add_noise(x_0, noise, levels[0])
    still = model.step(x_0, x_t, *levels, None)
    moved = model.step(x_0, x_t, *levels, torch.ones_like(x_t))
    mean, variance = bayes(model, x_0.numpy(), x_t.numpy(), t, t_next)
    np.testing.assert_allclose(still, mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose((moved - still) ** 2, np.full((5, 1), variance), rtol=1e-6)
    ddim = DDPM(linear_beta(), eta=0.0)
    torch.testing.assert_close(ddim.step(x_0, x_t, *levels, None), ddim.add_noise(x_0, noise, levels[1]), **CLOSE)


def test_a_flow_step_is_eulers():
    model, x_0, x = RectifiedFlow(), normal(3, 2, 4, 5, 5, seed=1), normal(3, 2, 4, 5, 5, seed=2)
    tau = torch.linspace(0.1, 1, 12, dtype=torch.float64).view(3, 4)
    tau_next = tau * torch.rand(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    per_frame = [level[:, None, :, None, None] for level in (tau, tau_next)]
    v = (x - x_0) / per_frame[0]
    torch.testing.assert_close(
        model.step(x_0, x, tau, tau_next), x + (per_frame[1] - per_frame[0]) * v, atol=1e-9, rtol=1e-9
    )
    assert torch.equal(model.step(x_0, x, tau, torch.zeros_like(tau)), x_0)


@pytest.mark.parametrize("model", [RectifiedFlow(), DDPM(eta=0.0), DDPM(eta=1.0)], ids=["flow", "ddim", "ddpm"])
def test_the_last_step_gives_the_clean_sample_and_level_zero_stays(model):
    x_0, x, zero = normal(2, 3, seed=1), normal(2, 3, seed=2), torch.zeros(2, dtype=torch.float64)
    torch.testing.assert_close(model.step(x_0, x, at(0, 2), zero, normal(2, 3, seed=3)), x_0, **CLOSE)
    torch.testing.assert_close(model.step(x_0, x_0, zero, zero, normal(2, 3, seed=3)), x_0, **CLOSE)


# ------------------------------------------------------------------ the whole way back


class Mixture:
    """Two Gaussians on the line, and what the best possible network says about them."""

    weights, means, stds = (0.3, 0.7), (-1.0, 0.8), (0.15, 0.3)

    def __init__(self, model):
        self.model = model

    def best(self, x, tau):
        """The prediction of E[x_0 | x_t], from each component's posterior."""
        a, b = (float(c) for c in self.model.coefficients(tau[:1, :1].double()))
        joint, means = [], []
        for w, m, s in zip(self.weights, self.means, self.stds):
            variance = (a * s) ** 2 + b**2
            joint.append(w / math.sqrt(variance) * torch.exp(-((x - a * m) ** 2) / (2 * variance)))
            means.append(m + a * s**2 / variance * (x - a * m))
        x_0 = (joint[0] * means[0] + joint[1] * means[1]) / (joint[0] + joint[1])
        noise = (x - a * x_0) / b
        if self.model.prediction == "v":
            return noise - x_0 if isinstance(self.model, RectifiedFlow) else a * noise - b * x_0
        return noise if self.model.prediction == "epsilon" else x_0

    def moments(self, sample):
        """(weight, mean, standard deviation) of each component, told apart halfway, 4 standard deviations from both."""
        parts = [sample[sample < -0.4], sample[sample >= -0.4]]
        return [(len(part) / sample.numel(), float(part.mean()), float(part.std())) for part in parts]


N = 20000


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_more_steps_than_the_process_has_do_no_harm(eta):
    ddpm = DDPM(zero_terminal_snr(linear_beta(10)), "v", eta=eta)
    assert ddpm.sample(lambda x, tau: torch.zeros_like(x), torch.ones(1, 2, 3, 4, 4), 25).isfinite().all()


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        (RectifiedFlow("v"), 200),
        (RectifiedFlow("x_0"), 200),
        (RectifiedFlow("x_0", shift=2), 200),
        (RectifiedFlow("v", heun=True), 50),
        (RectifiedFlow("x_0", heun=True), 50),
        (DDPM(zero_terminal_snr(linear_beta()), "v"), 250),
        (DDPM(cosine_beta(), "v"), 250),
        (DDPM(linear_beta(), "epsilon"), 250),
        (DDPM(linear_beta(), "epsilon", eta=1), 1000),
        (DDPM(cosine_beta(400), "x_0", eta=1), 400),
    ],
    ids=[
        "flow v",
        "flow x_0",
        "flow shifted",
        "heun v",
        "heun x_0",
        "zero SNR",
        "ddim v",
        "ddim epsilon",
        "ddpm epsilon",
        "ddpm x_0",
    ],
)
def test_with_the_exact_denoiser_every_sampler_recovers_a_mixture(model, steps):
    mixture = Mixture(model)
    noise = normal(1, 1, 1, 100, N // 100, seed=4, dtype=torch.float32)
    sample = model.sample(mixture.best, noise, steps, generator=torch.Generator().manual_seed(5)).flatten().double()
    for got, w, m, s in zip(mixture.moments(sample), mixture.weights, mixture.means, mixture.stds):
        n = w * N
        assert got[0] == pytest.approx(w, abs=4 * math.sqrt(w * (1 - w) / N) + 0.002)
        assert got[1] == pytest.approx(m, abs=4 * s / math.sqrt(n) + 0.005)
        assert got[2] == pytest.approx(s, abs=4 * s / math.sqrt(2 * n) + 0.02 * s)


@pytest.mark.parametrize(
    ("model", "order"),
    [
        (RectifiedFlow("v"), 1),
        (DDPM(linear_beta(), "epsilon"), 1),
        (RectifiedFlow("v", heun=True), 2),
        (RectifiedFlow("x_0", heun=True), 2),
    ],
    ids=["euler", "ddim", "heun v", "heun x_0"],
)
def test_the_error_falls_with_the_steps_as_the_samplers_order_says(model, order):
    """For Gaussian data N(m, s^2) the way back is known: the standardised sample never changes."""
    m, s = 0.5, 0.4
    noise = normal(1, 1, 1, 1, 50, seed=4)

    def best(x, tau):
        a, b = (float(c) for c in model.coefficients(tau[:1, :1].double()))
        x_0 = m + a * s**2 / ((a * s) ** 2 + b**2) * (x - a * m)
        return {"epsilon": (x - a * x_0) / b, "v": (x - a * x_0) / b - x_0, "x_0": x_0}[model.prediction]

    a, b = (float(c) for c in model.coefficients(torch.ones(1, dtype=torch.float64)))
    exact = m + s * (noise - a * m) / math.sqrt((a * s) ** 2 + b**2)
    errors = [float((model.sample(best, noise, steps) - exact).abs().max()) for steps in (25, 50, 100)]
    assert errors[2] < 0.05
    for coarse, fine in zip(errors, errors[1:]):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15 * order)


@pytest.mark.parametrize(("heun", "order"), [(False, 1), (True, 2)], ids=["euler", "heun"])
def test_the_order_holds_on_the_mixture_too(heun, order):
    """Its way back is curved and has no closed form: the reference is Euler's, a hundred times finer, extrapolated to zero."""
    flow, noise = RectifiedFlow("v", heun=heun), normal(1, 1, 1, 1, 40, seed=4)
    best, euler = Mixture(flow).best, RectifiedFlow("v")
    fine, finer = (euler.sample(best, noise, steps) for steps in (8000, 16000))
    exact = 2 * finer - fine  # Richardson: Euler's error halves with the step
    errors = [float((flow.sample(best, noise, steps) - exact).square().mean().sqrt()) for steps in (80, 160, 320)]
    for coarse, fine in zip(errors, errors[1:]):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2 * order)


def test_a_heun_step_is_the_mean_of_two_slopes():
    """Worked out on dx / dtau = 3 x: one step from 1 to 1/2, whose last half is Euler's."""
    flow = RectifiedFlow("v", heun=True)
    x = normal(1, 1, 1, 1, 4)
    seen = []
    out = flow.sample(lambda x_t, tau: seen.append(float(tau)) or 3 * x_t, x, 2)
    euler = x - 0.5 * 3 * x
    middle = x - 0.5 * (3 * x + 3 * euler) / 2
    torch.testing.assert_close(out, middle - 0.5 * 3 * middle, **CLOSE)
    assert seen == [1, 0.5, 0.5]


@pytest.mark.parametrize(
    "model",
    [
        *MODELS.values(),
        RectifiedFlow("x_0", shift=3.0),
        RectifiedFlow("x_0", heun=True),
        DDPM(cosine_beta(), "v", eta=1.0),
    ],
    ids=[*MODELS, "flow shifted", "flow heun", "ddpm stochastic"],
)
def test_known_frames_come_back_to_the_last_bit(model):
    x = normal(2, 3, 4, 5, 5, dtype=torch.float32)
    known = torch.tensor([[True, False, False, True], [False, True, False, False]])
    seen, estimates = [], []

    def denoise(x_t, tau):
        seen.append((x_t, tau))
        return torch.tanh(x_t) + 0.1

    out = model.sample(
        denoise, x, 7, known, torch.Generator().manual_seed(1), lambda i, x_0: estimates.append((i, x_0))
    )
    keep = known[:, None, :, None, None].expand_as(x)
    assert torch.equal(out[keep], x[keep]) and not (out[~keep] == x[~keep]).any() and out.isfinite().all()
    assert len(seen) == (13 if model.second_order else 7) and [i for i, _ in estimates] == [1, 2, 3, 4, 5, 6, 7]
    levels = model.levels(7)
    for (x_t, tau), level in zip(seen, np.repeat(levels, 2)[1:] if model.second_order else levels):
        assert torch.equal(x_t[keep], x[keep]) and (tau[known] == 0).all()
        torch.testing.assert_close(tau[~known], torch.full((5,), float(level)))
    assert all(torch.equal(x_0[keep], x[keep]) for _, x_0 in estimates)
    torch.testing.assert_close(estimates[-1][1], out, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "model",
    [RectifiedFlow("v"), RectifiedFlow("x_0", heun=True), DDPM(cosine_beta(), "v")],
    ids=["flow", "heun", "ddim"],
)
def test_a_frame_may_start_at_a_level_of_its_own(model):
    """Frames of N(m, s^2), one from noise, one from level 0.3, one given: a Gaussian's way back is known from any level."""
    m, s = 0.5, 0.4
    x, start = normal(1, 1, 3, 1, 50, seed=4), torch.tensor([[1.0, 0.3, 0.0]], dtype=torch.float64)
    seen = []

    def best(x_t, tau):
        seen.append(tau)
        a, b = (expand(c, x_t) for c in model.coefficients(tau))
        x_0 = m + a * s**2 / ((a * s) ** 2 + b**2) * (x_t - a * m)
        noise = (x_t - a * x_0) / b.clamp(min=1e-12)
        flow = isinstance(model, RectifiedFlow)
        return x_0 if model.prediction == "x_0" else noise - x_0 if flow else a * noise - b * x_0

    out = model.sample(best, x, 400, known=start == 0, start=start)
    a, b = (expand(c, x) for c in model.coefficients(start))
    exact = m + s * (x - a * m) / ((a * s) ** 2 + b**2).sqrt()
    torch.testing.assert_close(out[:, :, :2], exact[:, :, :2], atol=0.02, rtol=0)
    assert torch.equal(out[:, :, 2], x[:, :, 2])
    levels = torch.stack([tau[0] for tau in seen])
    assert (
        (levels[:, 0] >= levels[:, 1]).all()
        and (levels[:, 1] == levels[:, 0].clamp(max=0.3)).all()
        and (levels[:, 2] == 0).all()
    )


def test_only_the_stochastic_sampler_draws_noise_and_it_follows_from_the_generator():
    x = normal(1, 1, 2, 3, 3, dtype=torch.float32)
    for eta in (0.0, 1.0):
        model = DDPM(prediction="x_0", eta=eta)
        first, again, other = (
            model.sample(lambda x_t, _: 0.5 * x_t, x, 5, generator=torch.Generator().manual_seed(seed))
            for seed in (1, 1, 2)
        )
        assert torch.equal(first, again) and torch.equal(first, other) == (eta == 0)


# ------------------------------------------------------------------ the article as printed


def printed_reverse_step(x_t, noise, beta):
    """The article's x_{t-1} = (1 - beta_t)^(-1/2) (x_t - sqrt(beta_t) epsilon_t)."""
    return (x_t - math.sqrt(beta) * noise) / math.sqrt(1 - beta)


def test_the_printed_reverse_step_only_undoes_the_forward_step():
    beta = linear_beta().tolist()
    x, path = normal(5), []
    for t, b in enumerate(beta):
        noise = normal(5, seed=t + 1)
        path.append((x, noise))
        x = math.sqrt(1 - b) * x + math.sqrt(b) * noise
    for b, (before, noise) in zip(reversed(beta), reversed(path)):
        x = printed_reverse_step(x, noise, b)
        torch.testing.assert_close(x, before, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("source", ["fresh noise", "the best network"])
def test_the_printed_reverse_step_does_not_sample(source):
    """From noise, with an epsilon that is not the very one that was added, it ends far from the data."""
    model = DDPM(linear_beta(), "epsilon")
    mixture, x = Mixture(model), normal(2000, seed=1)
    for t in reversed(range(T)):
        noise = normal(2000, seed=t + 2) if source == "fresh noise" else mixture.best(x, at(t)[None])
        x = printed_reverse_step(x, noise, float(model.beta[t]))
    if source == "fresh noise":
        assert x.std() > 50  # the data's is 0.87
    else:
        assert x.std() < 0.4


def test_the_repaired_reverse_step_samples():
    """The same walk with three things more: a network's epsilon, the posterior's mean, and fresh noise sigma_t z."""
    model = DDPM(linear_beta(), "epsilon")
    mixture, x = Mixture(model), normal(N, seed=1)
    for t in reversed(range(T)):
        noise, b, bar = mixture.best(x, at(t)[None]), float(model.beta[t]), float(model.alpha_bar[t])
        x = (x - b / math.sqrt(1 - bar) * noise) / math.sqrt(1 - b)
        x = x + (math.sqrt(b) * normal(N, seed=t + 2) if t else 0)
    for got, w, m, s in zip(mixture.moments(x), mixture.weights, mixture.means, mixture.stds):
        assert got == (pytest.approx(w, abs=0.02), pytest.approx(m, abs=0.03), pytest.approx(s, abs=0.03))
