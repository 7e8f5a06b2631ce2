import torch
from torch.testing import assert_close

from isoloss.teleport._anderson import Anderson


def iterate(g, x, steps, ahead):
    for _ in range(steps):
        x = ahead.next(x, g(x))
    return x


def test_a_linear_map_is_solved_in_as_many_steps_as_it_has_dimensions():
    q, _ = torch.linalg.qr(torch.randn(5, 5).double())
    matrix = q @ torch.diag(torch.tensor([0.99, 0.9, 0.5, -0.3, 0.1]).double()) @ q.mT
    shift = torch.randn(5).double()
    fixed = torch.linalg.solve(torch.eye(5) - matrix, shift)
    found = iterate(lambda x: matrix @ x + shift, torch.zeros(5).double(), 7, Anderson())
    # The ridge of 1e-10 and 1 / (1 - 0.99).
    assert_close(found, fixed, rtol=1e-6, atol=1e-6)
    plain = iterate(lambda x: matrix @ x + shift, torch.zeros(5).double(), 7, Anderson(memory=0))
    assert (plain - fixed).norm() > 0.1 * fixed.norm()


def test_the_first_step_is_plain():
    x, image = torch.zeros(3), torch.ones(3)
    ahead = Anderson()
    assert_close(ahead.next(x, image), image)
    ahead.next(image, 1.5 * image)
    ahead.forget()
    assert_close(ahead.next(image, 1.5 * image), 1.5 * image)


def test_at_rest_it_stays():
    ahead = Anderson()
    x = torch.ones(3)
    for _ in range(4):
        x = ahead.next(x, x.clone())
    assert_close(x, torch.ones(3))
