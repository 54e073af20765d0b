"""The processes against the schedulers of diffusers: every step, every prediction, several numbers of steps."""

import diffusers
import pytest
import torch

from t2vlearn.diffusion import DDPM, RectifiedFlow, cosine_beta, linear_beta, zero_terminal_snr

T = 1000
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
CLOSER = {"atol": 1e-9, "rtol": 1e-9}
SCHEDULES = {"linear": (linear_beta, "linear"), "cosine": (cosine_beta, "squaredcos_cap_v2")}
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "x_0": "sample"}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


def normal(seed, *shape, dtype=torch.float64):
    return torch.randn(shape or (1, 2, 3, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def theirs(kind, schedule, prediction="epsilon", double=True, **options):
    """A scheduler; its tables in float64, since 1 - alpha_bar keeps four digits of float32 at the first steps."""
    scheduler = getattr(diffusers, kind)(
        num_train_timesteps=T, beta_start=1e-4, beta_end=0.02, beta_schedule=SCHEDULES[schedule][1],
        prediction_type=PREDICTIONS[prediction], clip_sample=False, **options,
    )  # fmt: skip
    if double:
        scheduler.betas = SCHEDULES[schedule][0]()
        scheduler.alphas = 1 - scheduler.betas
        scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    return scheduler


def ours(schedule, prediction="epsilon", eta=0.0):
    return DDPM(SCHEDULES[schedule][0](), prediction, eta)


def level(t, frames=3):
    """tau of step t for each frame; t = -1 is clean."""
    return torch.full((1, frames), (t + 1) / T, dtype=torch.float64)


@every_schedule
def test_schedules(schedule):
    torch.testing.assert_close(
        ours(schedule).beta.float(), theirs("DDPMScheduler", schedule, double=False).betas, **CLOSE
    )


def test_zero_terminal_snr():
    scheduler = theirs("DDIMScheduler", "linear", double=False, rescale_betas_zero_snr=True)
    torch.testing.assert_close(zero_terminal_snr(linear_beta()).float(), scheduler.betas, **CLOSE)


@every_schedule
def test_noising_and_velocity_at_every_step(schedule):
    model, scheduler = ours(schedule, "v"), theirs("DDPMScheduler", schedule)
    x_0, noise, t = normal(1, T, 3), normal(2, T, 3), torch.arange(T)
    tau = (t + 1).double() / T
    torch.testing.assert_close(model.add_noise(x_0, noise, tau), scheduler.add_noise(x_0, noise, t), **CLOSER)
    torch.testing.assert_close(model.target(x_0, noise, tau), scheduler.get_velocity(x_0, noise, t), **CLOSER)


@every_schedule
@every_prediction
def test_ddpm_steps(schedule, prediction):
    """Ancestral sampling, each of the thousand steps."""
    model, scheduler = ours(schedule, prediction, eta=1.0), theirs("DDPMScheduler", schedule, prediction)
    scheduler.set_timesteps(T)
    x_t, guess = normal(1), normal(2)
    for t in range(T):
        expected = scheduler.step(guess, t, x_t, generator=torch.Generator().manual_seed(t)).prev_sample
        tau, noise = level(t), normal(t)
        got = model.step(model.to_x_0(guess, x_t, tau), x_t, tau, level(t - 1), noise)
        torch.testing.assert_close(got, expected, msg=f"step {t}", **CLOSER)


@every_schedule
@every_prediction
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [10, 50, 250])  # divisors: theirs takes t - T // steps for the next step
def test_ddim_steps(schedule, prediction, eta, steps):
    model = ours(schedule, prediction, eta)
    scheduler = theirs("DDIMScheduler", schedule, prediction, timestep_spacing="trailing", set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    levels = [round(tau * T) - 1 for tau in model.levels(steps)]
    assert levels == [*scheduler.timesteps.tolist(), -1]
    x_t, guess, noise = normal(1), normal(2), normal(3)
    for t, t_next in zip(levels, levels[1:]):
        expected = scheduler.step(guess, t, x_t, eta=eta, variance_noise=noise if eta else None).prev_sample
        got = model.step(model.to_x_0(guess, x_t, level(t)), x_t, level(t), level(t_next), noise if eta else None)
        torch.testing.assert_close(got, expected, msg=f"step {t}", **CLOSER)


@pytest.mark.parametrize("prediction", ["v", "x_0"])
def test_ddim_steps_from_a_schedule_that_ends_in_noise(prediction):
    beta = zero_terminal_snr(linear_beta())
    model, scheduler = (
        DDPM(beta, prediction),
        theirs("DDIMScheduler", "linear", prediction, timestep_spacing="trailing"),
    )
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = beta, 1 - beta, (1 - beta).cumprod(0)
    scheduler.set_timesteps(20)
    x_t, guess = normal(1), normal(2)
    for t, t_next in zip(scheduler.timesteps.tolist(), [*scheduler.timesteps.tolist()[1:], -1]):
        expected = scheduler.step(guess, t, x_t).prev_sample
        got = model.step(model.to_x_0(guess, x_t, level(t)), x_t, level(t), level(t_next))
        torch.testing.assert_close(got, expected, msg=f"step {t}", **CLOSER)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_rectified_flow(shift, steps):
    model, scheduler = RectifiedFlow("v", shift=shift), diffusers.FlowMatchEulerDiscreteScheduler(T, shift=shift)
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    torch.testing.assert_close(torch.tensor(model.levels(steps)), scheduler.sigmas, **CLOSE)
    x_0, noise = normal(1, dtype=torch.float32), normal(2, dtype=torch.float32)
    for t, tau in zip(scheduler.timesteps, model.levels(steps)):
        expected = scheduler.scale_noise(x_0, t[None], noise)
        torch.testing.assert_close(model.add_noise(x_0, noise, torch.full((1, 3), tau)), expected, **CLOSE)

    def network(x, tau):
        return torch.sin(3 * x) + tau[:, None, :, None, None]

    x = noise
    for t, tau in zip(scheduler.timesteps, model.levels(steps)):
        x = scheduler.step(network(x, torch.full((1, 3), tau)), t, x).prev_sample
    torch.testing.assert_close(model.sample(network, noise, steps), x, **CLOSE)
