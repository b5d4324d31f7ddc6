"""The autoencoding task: its objective by hand, what is measured, and what a latent tells in words."""

import math

import pytest
import torch

from gatewise import UserError
from gatewise.layers import SequenceDecoder, SequenceVAE, SeriesEmission, TokenEmission
from gatewise.tasks import (
    Against,
    Annealing,
    AutoencodeTask,
    Objective,
    UnconditionalTask,
    bounded,
    edits,
    examine,
    measure,
    measure_unconditional,
    verdict,
    way,
)
from gatewise.tasks.autoencode import in_batches

V = 6


def lines(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 9, (count,), generator=generator).tolist()
    return [torch.randint(0, V, (n,), generator=generator) for n in lengths]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    model = SequenceVAE(TokenEmission(V, 3), "gru", 5, 4, engine="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
    return model


def test_the_objective_is_annealed_and_has_free_bits(model):
    task = AutoencodeTask(lines(9), [], 4, Objective(Annealing("linear", rise=0.5), 0.3, 0.0))
    batch = task.batches(0)[0]
    for share, weight in ((0.0, 0.0), (0.25, 0.5), (0.8, 1.0)):
        torch.manual_seed(0)
        found = model.evidence(*batch)
        price = sum(max(0.3, float(found.kl.detach()[:, d].mean())) for d in range(4))
        wanted = (weight * price - float(found.log_likelihood.detach().mean())) / float((batch[1] + 1).double().mean())
        torch.manual_seed(0)
        assert task.loss(model, batch, None, share)[0].item() == pytest.approx(wanted, rel=1e-5)
    assert task.size(batch) == int(batch[1].sum())


def test_the_epochs_batches_depend_on_seed_and_epoch_alone():
    def first(seed, epoch):
        torch.rand(1)
        return AutoencodeTask(lines(99), [], 4, seed=seed).batches(epoch)[0][0].tolist()

    assert first(1, 5) == first(1, 5)
    assert first(1, 5) != first(1, 6)
    assert first(1, 5) != first(2, 5)
    first((1 << 63) - 1, 10**6)


def test_what_is_held_out_is_measured_by_the_full_bound_and_alike_each_time(model):
    heldout = lines(200, 3)
    dropping = Objective(Annealing("linear", rise=1.0), 5.0, 0.9)
    task = AutoencodeTask(lines(9), heldout, 4, dropping)
    model.train()
    figures = task.held_out(model)
    assert model.training  # put back
    measured = measure(model, heldout)
    assert figures == task.held_out(model) == measured.figures()
    with torch.no_grad():  # a line at a time, with the noise that a batch of 20 draws
        noise = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
        likelihood = kl = 0.0
        for line, epsilon in zip(sorted(heldout[:20], key=len), noise, strict=True):
            one = line.unsqueeze(1), torch.tensor([len(line)])
            q = model.posterior(*one)
            sigma = (q.log_variance / 2).exp()
            likelihood += model.log_likelihood(*one, q.mean + sigma * epsilon).item()
            kl += 0.5 * (q.mean**2 + sigma**2 - 1 - 2 * sigma.log()).sum().item()
    few = measure(model, heldout[:20])
    assert few.reconstruction == pytest.approx(-likelihood / 20, abs=1e-4)
    assert few.kl.sum().item() == pytest.approx(kl / 20, abs=1e-4)
    assert few.elbo == pytest.approx((likelihood - kl) / 20, abs=1e-4)
    assert figures["loss"] == pytest.approx(-figures["elbo"] / (sum(map(len, heldout)) / 200 + 1))
    assert math.isnan(AutoencodeTask(lines(9), [], 4).held_out(model)["loss"])


def test_no_batch_of_a_large_vocabulary_fills_the_memory():
    emission = TokenEmission(100_000, 2)
    sizes = [len(lengths) for _, lengths in in_batches([torch.zeros(99, dtype=torch.long)] * 10, emission)]
    assert sizes == [3, 3, 3, 1]  # 3 * 100 * 100,001 <= 2^25
    assert len(in_batches(lines(300), TokenEmission(V, 3))[0][1]) == 128


def test_findings(model):
    heldout = lines(60, 3)
    done = []
    findings = examine(model, heldout, 16, done.append)
    assert sum(done) == 120  # once for the ELBO, once for the bound
    summary = findings.summary()
    assert summary["iw_bound"]["bound"] > summary["iw_bound"]["elbo"]
    assert summary["iw_bound"]["elbo"] == pytest.approx(summary["elbo"], abs=2.0)
    assert summary["mutual_information"] <= summary["mutual_information_at_most"] == math.log(60)
    assert summary["mutual_information"] <= summary["kl"] + 0.3
    assert summary == examine(model, heldout, 16).summary()


def test_a_single_sequence_shows_no_collapse(model):
    task = AutoencodeTask(lines(9), lines(1), 4)
    assert sorted(task.held_out(model)) == ["elbo", "kl", "loss", "reconstruction"]
    summary = examine(model, task.heldout, 4).summary()
    assert [summary[name] for name in ("active_units", "mutual_information", "reconstruction_shuffled")] == [None] * 3
    said = verdict(0.1, None, 4, None, Against(1.0, -2.0))
    assert "warning" not in said
    assert "2.0 nats worse" in said


def test_the_bound_is_of_sequences_spread_over_all():
    assert bounded(range(512)) == range(512)
    assert bounded(range(1025)) == range(0, 1025, 3)


def test_another_lines_latent_reconstructs_worse_once_the_latent_is_listened_to():
    """A model that is trained on constant lines tells which constant by its latent."""
    torch.manual_seed(0)
    data = [torch.full((4,), i % V) for i in range(60)]
    task = AutoencodeTask(data, data, 30, Objective(Annealing("linear", rise=1.0), 0.0, 0.6))
    model = SequenceVAE(TokenEmission(V, 4), "gru", 12, 2, engine="eager")
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for step in range(60):
        for batch in task.batches(step):
            loss, _ = task.loss(model, batch, None, 0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    findings = examine(model, data, 4)
    assert findings.measured.reconstruction < 2.0  # of 4 log 6 + the end
    assert findings.shuffled is not None
    assert findings.shuffled > findings.measured.reconstruction + 3
    assert findings.measured.active == 2
    assert findings.information == pytest.approx(math.log(V), abs=0.35)
    assert findings.measured.kl.sum() > 1.5


def test_the_unconditional_model_is_measured_by_its_likelihood():
    torch.manual_seed(0)
    heldout = lines(50, 3)
    decoder = SequenceDecoder(TokenEmission(V, 3), "gru", 5, 0, engine="eager")
    total = 0.0
    with torch.no_grad():
        for line in heldout:
            framed = decoder.emission.frame(line.unsqueeze(1), torch.tensor([len(line)]))
            total -= decoder.log_likelihood(framed).item()
    assert measure_unconditional(decoder, heldout) == pytest.approx(total / 50, abs=1e-4)
    task = UnconditionalTask(AutoencodeTask(lines(9), heldout, 4))
    assert task.held_out(decoder)["loss"] == pytest.approx(total / 50, abs=1e-4)
    batch = task.batches(0)[0]
    framed = decoder.emission.frame(*batch)
    wanted = -decoder.log_likelihood(framed).sum() / float(framed.lengths.sum())
    assert task.loss(decoder, batch, None, 0.0)[0].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_series_have_no_end_to_be_found():
    torch.manual_seed(0)
    data = [torch.randn(6, 2) for _ in range(8)]
    task = AutoencodeTask(data, data, 4, unit="steps")
    model = SequenceVAE(SeriesEmission(2), "gru", 5, 2, engine="eager")
    figures = task.held_out(model)
    assert figures["loss"] == pytest.approx(-figures["elbo"] / 6)
    assert task.loss_unit == "nats per step"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"word_dropout": 1.2}, "word-dropout"), ({"word_dropout": -0.1}, "word-dropout"), ({"free_bits": -1.0}, "bits")],
)
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        Objective(**options)


def test_ways():
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    assert way(a, b, 5)[1].tolist() == [1.5, 0.25, 0.0]
    arc = way(a, b, 5, "spherical")
    angle = math.pi / 8
    torch.testing.assert_close(arc[1], torch.tensor([2 * math.sin(3 * angle), math.sin(angle), 0.0]))
    for kind in ("linear", "spherical"):
        ends = way(a, b, 4, kind)[[0, -1]]
        torch.testing.assert_close(ends, torch.stack([a, b]), atol=1e-6, rtol=0)
        torch.testing.assert_close(way(a, a, 3, kind), a.repeat(3, 1))
    torch.testing.assert_close(way(a, -a, 3, "spherical")[1], torch.zeros(3))
    with pytest.raises(UserError, match="did you mean 'spherical'"):
        way(a, b, 3, "sphere")
    with pytest.raises(UserError, match="--steps 1"):
        way(a, b, 1)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "axc", 1), ("abc", "bc", 1), ("flaw", "lawn", 2), ("ab", "", 2)],
)
def test_edits(one, other, wanted):
    assert edits(one, other) == edits(other, one) == wanted


def test_collapse_is_told_in_words():
    for kl, active in ((0.4, 5), (8.0, 0)):
        said = verdict(kl, active, 32, 0.0)
        assert said.startswith("warning: posterior collapse")
        assert "--free-bits" in said
        assert "--word-dropout" in said
    assert "hardly listens" in verdict(8.0, 32, 32, 0.2)
    assert not verdict(8.0, 30, 32, 6.0).startswith("warning")
    assert not verdict(8.0, 30, 32, None).startswith("warning")
    better = verdict(8.0, 30, 32, 6.0, Against(4.5, -3.5))
    assert "4.5 against the same decoder without a latent" in better
    assert better.endswith("as a model of the lines it is 3.5 nats worse than the same decoder without a latent")
    assert "a model of the series it is 0.7 nats better than an n-gram" in verdict(
        8.0, 30, 32, 6.0, Against(4.5, 0.7, "an n-gram", "series")
    )
    of_every_step = verdict(8.0, 30, 32, None, Against(4.5, 0.7, "an n-gram"))
    assert of_every_step.startswith(
        "the latent tells 8.0 nats of a sequence, by 30 of 32 units; it saves 4.5 nats against an"
    )
    worse = verdict(8.0, 30, 32, 6.0, Against(-1.5, -9.0))
    assert worse.startswith("warning")
    assert "no better" in worse
    assert "9.0 nats worse" in worse
