"""Appendix B of the 2025 paper: the algorithm in closed form for quadratic forms in the plane."""

from math import pi

import torch
from torch import Tensor

from isoloss.problems import QuadraticForm, rotation
from isoloss.problems._numbers import beside, times


def angle_slope(form: QuadraticForm, x: Tensor, angle: Tensor, lr: float | Tensor) -> Tensor:
    r"""The derivative :math:`\partial f(x_{t+1}) / \partial \theta_t` of the next loss in the angle.

    .. math::
        2\, (R_\theta B x)^T (1 - 2 \alpha A)^2 R_{\theta + \pi/2} B x
        = -4 \alpha\, (\lambda_2 - \lambda_1) (1 - \alpha\, \mathrm{tr} A)\, f(x) \sin 2 \varphi,
        \qquad B = A^{1/2}

    Here phi is the angle from the eigenvector of the smaller eigenvalue :math:`\lambda_1` to
    :math:`B y_t = R_\theta B x`: the long axis of the ellipse is at 0, the short one at pi/2. So the paper's two claims
    hold with provisos.

    **The direction.** The update turns y toward the short axis if and only if :math:`\alpha < 1 / \mathrm{tr} A`
    (`reversal_rate`), toward the long axis beyond, and vanishes at equality. The paper says "consistently", of any
    rate. All rates up to 1/L, that of the descent lemma with :math:`L = 2 \lambda_2`, are below. But descent converges
    up to :math:`1 / \lambda_2`, which is more, and does best at :math:`1 / \mathrm{tr} A`: at the best learning rate of
    plain descent nothing is learned. In n dimensions the update descends to the eigenvector whose eigenvalue is nearest
    to :math:`1 / 2 \alpha`, which the next step shortens most.

    **The size.** One update does not pass the axis if
    :math:`4 \alpha \beta (\lambda_2 - \lambda_1) |1 - \alpha\, \mathrm{tr} A|\, f(x) \le 1/2`.

    **The speed.** It is largest at :math:`\varphi = \pi/4`: halfway between the axes in the coordinates B y. In the
    plane of y that point of the level set is at the angle :math:`\arctan \sqrt{\lambda_1 / \lambda_2}` from the long
    axis; on a circle around the minimum 45 degrees are right. It is y that counts, and x only at :math:`\theta = 0`.

    **Misprints.** The last two equations of Appendix B have :math:`2 (B x)^T \Lambda R_{\pi/2} B x`; see
    `published_angle_slope`.

    Args:
        form: A quadratic form of two variables.
        x: The points :math:`x_t`, ``(*batch, 2)``.
        angle: The angles :math:`\theta_t`, ``(*batch)``.
        lr: The learning rate alpha, one or ``(*batch)``.

    Raises:
        ValueError: If the form is not one of the plane.

    References:
        2025 paper, Section 4.2, Appendix B. Differs as said.
    """
    _check(form, "angle_slope")
    u = form.residual(x)
    values, vectors = (part.to(u) for part in form.spectrum)
    shrink = (1 - 2 * beside(lr, u).unsqueeze(-1) * values).square()
    here, ahead = (times(vectors.mT, times(rotation(t), u)) for t in (angle, angle + pi / 2))
    return 2 * (here * shrink * ahead).sum(-1)


def published_angle_slope(form: QuadraticForm, x: Tensor, lr: float | Tensor) -> Tensor:
    r"""The same as Appendix B prints it, :math:`2 (B x)^T \Lambda R_{\pi/2} B x`: wrong, for comparison.

    With :math:`C A C = (1 - 2 \alpha A)^2 = Q \Lambda Q^T` (printed without the transpose) two things go astray.
    :math:`R_{-\theta}` and :math:`R_\theta` are cancelled across :math:`C A C`, with which they do not commute, so that
    the derivative does not depend on theta; and :math:`\Lambda` stands for :math:`Q \Lambda Q^T`. Both steps together
    are harmless for all x exactly where theta is the angle of the first eigenvector, modulo pi, or where the two
    shrinking factors are equal (and both sides 0): for a diagonal A at theta = 0, so in the first step. The equations
    above them in the Appendix are right.

    Args:
        form: A quadratic form of two variables.
        x: The points, ``(*batch, 2)``.
        lr: The learning rate, one or ``(*batch)``.

    References:
        2025 paper, Appendix B, the last two equations.
    """
    _check(form, "published_angle_slope")
    u = form.residual(x)
    shrink = (1 - 2 * beside(lr, u).unsqueeze(-1) * form.spectrum[0].to(u)).square()
    turned = torch.stack([-u[..., 1], u[..., 0]], -1)
    return 2 * (u * shrink * turned).sum(-1)


def reversal_rate(form: QuadraticForm) -> Tensor:
    r"""The learning rate :math:`1 / \mathrm{tr} A` beyond which the update turns to the long axis, ``(*parameters)``.

    It is the best constant rate of plain descent, :math:`2 / (L + \mu)` with :math:`L = 2 \lambda_2`,
    :math:`\mu = 2 \lambda_1`.

    Raises:
        ValueError: If the form is not one of the plane.
    """
    _check(form, "reversal_rate")
    return 1 / form.spectrum[0].sum(-1)


def _check(form: QuadraticForm, where: str) -> None:
    if form.size != 2:
        raise ValueError(
            f"{where}: the closed form is that of the plane; got a form of {form.size} variables. "
            "Use descend_on_the_fly, which differentiates."
        )
