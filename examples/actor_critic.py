"""Learns to balance a pole on a cart. Written for PyTorch; `rushlight run` runs it."""

import argparse
import math
import random
from collections import namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

SavedAction = namedtuple("SavedAction", ["log_probability", "value"])


class CartPole:
    """A pole hinged on a cart; each action pushes the cart left or right for a fiftieth of a second."""

    FORCE, GRAVITY, HALF_LENGTH, CART, POLE, TICK = 10.0, 9.8, 0.5, 1.0, 0.1, 0.02

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.state = [0.0] * 4

    def reset(self) -> list[float]:
        """Start nearly upright: place and speed of the cart, angle and angular speed of the pole."""
        self.state = [self.random.uniform(-0.05, 0.05) for _ in range(4)]
        return self.state

    def step(self, action: int) -> tuple[list[float], float, bool]:
        """The next state, the reward, and whether the pole fell or the cart left the track."""
        _, speed, angle, turning = self.state
        force = self.FORCE if action == 1 else -self.FORCE
        mass = self.CART + self.POLE
        pushed = (force + self.POLE * self.HALF_LENGTH * turning**2 * math.sin(angle)) / mass
        lever = self.HALF_LENGTH * (4 / 3 - self.POLE * math.cos(angle) ** 2 / mass)
        swing = (self.GRAVITY * math.sin(angle) - math.cos(angle) * pushed) / lever
        push = pushed - self.POLE * self.HALF_LENGTH * swing * math.cos(angle) / mass
        rates = (speed, push, turning, swing)
        self.state = [value + self.TICK * rate for value, rate in zip(self.state, rates, strict=True)]
        return self.state, 1.0, abs(self.state[0]) > 2.4 or abs(self.state[2]) > math.radians(12)


class Policy(nn.Module):
    """One hidden layer, read by an actor (which way to push) and a critic (how long the pole will stand)."""

    def __init__(self) -> None:
        super().__init__()
        self.affine1 = nn.Linear(4, 32)
        self.action_head = nn.Linear(32, 2)
        self.value_head = nn.Linear(32, 1)
        self.saved_actions: list[SavedAction] = []
        self.rewards: list[float] = []

    def forward(self, x):
        x = F.relu(self.affine1(x))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


def select_action(model: Policy, state: list[float]) -> int:
    """Draw an action and keep what the update needs."""
    probabilities, value = model(torch.tensor(state))
    choice = Categorical(probabilities)
    action = choice.sample()
    model.saved_actions.append(SavedAction(choice.log_prob(action), value))
    return action.item()


def finish_episode(model: Policy, optimizer: optim.Optimizer, gamma: float) -> float:
    """One update from the rewards of the episode; gives the loss."""
    returns: list[float] = []
    total = 0.0
    for reward in model.rewards[::-1]:
        total = reward + gamma * total
        returns.insert(0, total)
    scaled = torch.tensor(returns)
    scaled = (scaled - scaled.mean()) / (scaled.std() + 1e-6)
    policy_losses, value_losses = [], []
    for (log_probability, value), target in zip(model.saved_actions, scaled, strict=True):
        policy_losses.append(-log_probability * (target - value.item()))
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([target])))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum()
    loss.backward()
    optimizer.step()
    del model.rewards[:]
    del model.saved_actions[:]
    return loss.item()


def main() -> None:
    """One episode and one update per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=543)
    parser.add_argument("--gamma", type=float, default=0.99)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    environment = CartPole(options.seed)
    model = Policy()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for step in range(options.steps):
        state = environment.reset()
        for _ in range(300):
            state, reward, done = environment.step(select_action(model, state))
            model.rewards.append(reward)
            if done:
                break
        stood = len(model.rewards)
        print(f"step {step + 1}: loss {finish_episode(model, optimizer, options.gamma):.6f}, stood {stood} ticks")


if __name__ == "__main__":
    main()
