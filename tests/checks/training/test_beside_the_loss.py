"""What no loss tells: whether a policy gains by what it learns, and whether a generator comes nearer to the data."""

import random
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

import firstfault
from firstfault.checks.training._beside_the_loss import ERRORS, gain_of, rise_of
from firstfault.checks.training.return_does_not_rise import return_does_not_rise
from firstfault.coverage import BESIDE_THE_LOSS
from firstfault.finding import Status
from firstfault.probe.record import Record
from firstfault.verdict import VerdictStatus


def judged(folder, loop):
    """The finding of what looked beside the loss, and the whole verdict."""
    torch.manual_seed(0)
    random.seed(0)
    with firstfault.watch(folder=folder) as watched:
        loop()
    verdict = watched.verdict(swaps=False)
    found = [each for layer in verdict.layers for each in layer.findings if each.check in BESIDE_THE_LOSS]
    [finding] = [each for each in found if each.status is not Status.SKIPPED] or found[:1]
    return finding, verdict, watched


class Corridor:
    """Eight places in a row; a step to the right is worth 1, one to the left costs it."""

    def reset(self):
        self.place, self.time = 3, 0
        return self.seen()

    def seen(self):
        return functional.one_hot(torch.tensor(self.place), 8).float()

    def step(self, action):
        before, self.place = self.place, max(0, min(7, self.place + 2 * int(action) - 1))
        self.time += 1
        return self.seen(), float(self.place - before), self.time == 8, {}


def acts(sign=1.0, *, reward_sign=1.0, detached=False):
    """REINFORCE on the corridor, one sample without an axis of samples at a time."""

    def loop():
        policy = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
        optimizer, corridor = torch.optim.Adam(policy.parameters(), 0.01), Corridor()
        for _ in range(60):
            seen, over, chosen, gained = corridor.reset(), False, [], []
            while not over:
                choice = torch.distributions.Categorical(logits=policy(seen))
                action = choice.sample()
                chosen.append(choice.log_prob(action))
                seen, reward, over, _ = corridor.step(action)
                gained.append(reward_sign * reward)
            weights = torch.tensor(gained)
            values = torch.stack(chosen).detach() + 0 * policy(seen).sum() if detached else torch.stack(chosen)
            optimizer.zero_grad()
            (-sign * (values * weights).sum()).backward()
            optimizer.step()

    return loop


def draws(loss_of):
    """A bandit with contexts, whose rewards are a variable of the loop alone."""

    def loop():
        policy = nn.Linear(4, 3)
        optimizer = torch.optim.Adam(policy.parameters(), 0.05)
        baseline = 0.0
        for _ in range(120):
            x = torch.randn(32, 4)
            choice = torch.distributions.Categorical(logits=policy(x))
            action = choice.sample()
            reward = (action == x[:, :3].argmax(1)).float()
            optimizer.zero_grad()
            loss_of(choice.log_prob(action), reward - baseline).backward()
            optimizer.step()
            baseline = 0.9 * baseline + 0.1 * float(reward.mean())

    return loop


class Shift(nn.Module):
    """Moves its inputs."""

    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x + self.by


class Policy(nn.Module):
    """Says how it would act, by a distribution, and what it expects."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 16), nn.Tanh())
        self.choice, self.value, self.width = nn.Linear(16, 2), nn.Linear(16, 1), nn.Parameter(torch.zeros(2))

    def forward(self, seen):
        hidden = self.body(seen)
        return torch.distributions.Normal(self.choice(hidden), self.width.exp()), self.value(hidden)[:, 0]


class Points:
    """Sixteen points, which are to be pushed to the origin."""

    def reset(self):
        self.at, self.time = torch.rand(16, 2) * 2 - 1, 0
        return self.at

    def step(self, action):
        self.at, self.time = (self.at + 0.3 * action).clamp(-2, 2), self.time + 1
        return self.at, -self.at.norm(dim=1), self.time == 5, {}


def criticised(sign=1.0):
    """An actor and a critic in one model, on many points at once."""

    def loop():
        policy, points = Policy(), Points()
        optimizer = torch.optim.Adam(policy.parameters(), 0.03)
        for _ in range(60):
            seen, over, chosen, values, gained = points.reset(), False, [], [], []
            while not over:
                choice, value = policy(seen)
                action = choice.sample()
                seen, reward, over, _ = points.step(action)
                chosen.append(choice.log_prob(action).sum(-1))
                values.append(value)
                gained.append(reward)
            returns = torch.stack(gained).flip(0).cumsum(0).flip(0)
            value = torch.stack(values)
            loss = -sign * (torch.stack(chosen) * (returns - value.detach())).mean()
            optimizer.zero_grad()
            (loss + 0.5 * functional.mse_loss(value, returns)).backward()
            optimizer.step()

    return loop


def plays(*, steps=150, sign=1.0, spread=1.0, joined=False, one_mode=False):
    """A generator that learns where real points lie from a critic that is kept small."""

    def loop():
        generator, critic = Shift() if one_mode else nn.Linear(2, 2), nn.Linear(2, 1)
        first, second = torch.optim.SGD(generator.parameters(), 0.1), torch.optim.SGD(critic.parameters(), 0.3)
        middle = torch.tensor([3.0, -2.0])
        for _ in range(steps):
            real, noise = torch.randn(64, 2) + middle, spread * torch.randn(64, 2)
            if one_mode:
                noise = torch.randn(1, 2) + 0.2 * noise
            with torch.no_grad():
                made = generator(noise)
            second.zero_grad()
            if joined:
                said = critic(torch.cat([real, made]))
                (said[64:].mean() - said[:64].mean() + 0.5 * critic.weight.square().sum()).backward()
            else:
                (critic(made).mean() - critic(real).mean() + 0.5 * critic.weight.square().sum()).backward()
            second.step()
            first.zero_grad()
            (-sign * critic(generator(noise)).mean()).backward()
            first.step()

    return loop


def plain(chosen, gained):
    return -(chosen * gained).mean()


LEARNT = {
    "policy": (acts(), Status.PASS),
    "its sign": (acts(-1.0), Status.FAIL),
    "the reward's sign": (acts(reward_sign=-1.0), Status.FAIL),
    "nothing learnt": (acts(detached=True), Status.WARN),
    "actor and critic": (criticised(), Status.PASS),
    "the actor's sign": (criticised(-1.0), Status.FAIL),
    "bandit": (draws(plain), Status.PASS),
    "the bandit's sign": (draws(lambda chosen, gained: -plain(chosen, gained)), Status.FAIL),
    "rewards of others": (draws(lambda chosen, gained: plain(chosen, gained[torch.randperm(32)])), Status.WARN),
    "generator": (plays(), Status.PASS),
    "one batch": (plays(joined=True), Status.PASS),
    "away from the data": (plays(steps=220, sign=-1.0), Status.FAIL),
    "too short": (plays(steps=8), Status.WARN),
    "all alike": (plays(spread=1e-3), Status.FAIL),
}


@pytest.mark.parametrize("name", LEARNT)
def test_what_is_learnt_is_judged_beside_the_loss(name, tmp_path):
    """Sound loops are healthy; what learns nothing, or the wrong way round, never is."""
    loop, status = LEARNT[name]
    finding, verdict, _ = judged(tmp_path, loop)
    assert finding.status is status, finding.message
    assert (verdict.status is VerdictStatus.HEALTHY) == (status is Status.PASS), verdict.not_cleared


def test_a_generator_that_makes_one_mode_a_batch_is_to_be_looked_at(tmp_path):
    """Over many batches its samples are close to the real ones: it has learnt, and the verdict is healthy."""
    finding, verdict, _ = judged(tmp_path, plays(one_mode=True))
    assert finding.status is Status.WARN and finding.value <= finding.threshold
    assert verdict.status is VerdictStatus.HEALTHY, verdict.not_cleared


def test_an_actor_whose_reward_nobody_sees_is_not_cleared(tmp_path):
    """Its critic's loss beats a constant answer, which tells nothing of the actor."""

    def loop():
        policy, values = nn.Linear(4, 3), nn.Linear(4, 1)
        optimizer = torch.optim.Adam([*policy.parameters(), *values.parameters()], 0.05)
        for _ in range(120):
            x = torch.randn(32, 4)
            choice = torch.distributions.Categorical(logits=policy(x))
            action = choice.sample()
            worth = x[:, :1] + 0.1 * torch.randn(32, 1)
            optimizer.zero_grad()
            loss = functional.mse_loss(values(x), worth) - 0.01 * (choice.log_prob(action) * torch.randn(32)).mean()
            loss.backward()
            optimizer.step()

    finding, verdict, _ = judged(tmp_path, loop)
    assert finding.status is Status.WARN and verdict.status is VerdictStatus.UNDECIDED


@pytest.mark.parametrize("optimizers", [1, 2])
def test_models_that_share_a_loss_are_judged_by_it(optimizers, tmp_path):
    """Encoder and decoder are two models, and play against nobody."""

    def loop():
        encoder, decoder = nn.Linear(6, 3), nn.Linear(3, 6)
        groups = [encoder.parameters(), decoder.parameters()]
        made = [torch.optim.Adam([*groups[0], *groups[1]], 0.02)] if optimizers == 1 else None
        made = made or [torch.optim.Adam(group, 0.02) for group in groups]
        mixing = torch.randn(3, 6)
        for _ in range(150):
            x = torch.randn(32, 3) @ mixing
            for each in made:
                each.zero_grad()
            (decoder(encoder(x)) - x).square().mean().backward()
            for each in made:
                each.step()

    _, verdict, watched = judged(tmp_path, loop)
    assert verdict.status is VerdictStatus.HEALTHY and not watched.record.generated, verdict.not_cleared


def test_the_environment_is_put_back_as_it_was(tmp_path):
    """Its class is listened to while the loop runs, and no longer."""
    before = Corridor.step, Corridor.reset
    _, _, watched = judged(tmp_path, acts())
    assert (Corridor.step, Corridor.reset) == before and watched.record.reward_of == "Corridor.step"
    assert len(watched.record.rewards) == 60


@pytest.mark.parametrize("learns", [True, False], ids=["learnt at once", "chance"])
def test_a_policy_that_learns_within_its_first_episodes_has_gained(learns):
    """A policy that slips now and then gains by ranks where its mean returns are too scattered."""
    drawn = random.Random(0)
    returns = [-2.0 if drawn.random() < 0.1 else min(0.9, 0.03 * place) + 0.01 * drawn.random() for place in range(350)]
    if not learns:
        drawn.shuffle(returns)
    assert rise_of(returns)[2] < ERRORS
    assert (gain_of(returns)[2] >= ERRORS) is learns


@pytest.mark.parametrize(("credit", "status"), [(0.9, Status.PASS), (0.0, Status.WARN)])
def test_a_policy_whose_loss_makes_likelier_what_brings_more_may_gain_less(credit, status):
    """One that has learnt within a tenth of its episodes gains three standard errors: chance, but for its loss."""
    drawn, record = random.Random(0), Record(reward_of="Corridor.step", draws=True)
    for step in range(400):
        record.rewards.add(step, min(0.8, 0.02 * step) + drawn.gauss(0, 0.45))
        record.credit.add(step, credit + drawn.gauss(0, 0.1))
    assert 2.5 < gain_of(record.rewards.values)[2] < ERRORS
    [finding] = return_does_not_rise(SimpleNamespace(record=record))
    assert finding.status is status
