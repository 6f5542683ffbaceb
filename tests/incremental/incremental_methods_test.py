"""The equations and terms of incremental learning, by NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tf_deepinversion.incremental import METHODS
from tf_deepinversion.incremental import Step
from tf_deepinversion.incremental import View
from tf_deepinversion.incremental import losses
from tf_deepinversion.incremental import method
from tf_deepinversion.incremental.check_terms import require_teaching

RANDOM = np.random.default_rng(0)
OLD, CLASSES, FEATURES = 3, 5, 4
KERNEL = RANDOM.normal(size=(FEATURES, OLD))


def view(labels):
    n = len(labels)
    return View(
        np.array(labels),
        RANDOM.normal(size=(n, CLASSES)) * 3,
        RANDOM.normal(size=(n, CLASSES)) * 3,
        RANDOM.normal(size=(n, FEATURES)),
        RANDOM.normal(size=(n, OLD)) * 3,
        RANDOM.normal(size=(n, FEATURES)),
    )


NEW, REPLAYED = view([3, 4, 4, 3]), view([0, 2, 1, 1, 0, 2])
STEP = Step(NEW, REPLAYED, KERNEL)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def ce(labels, logits):
    return -np.log(softmax(logits)[np.arange(len(labels)), labels])


def kl(p, q):
    return np.sum(p * np.log(p / q), -1)


def bce(t, x):
    s = 1 / (1 + np.exp(-x))
    return -(t * np.log(s) + (1 - t) * np.log(1 - s))


def local():
    return ce(NEW.labels - OLD, NEW.logits[:, OLD:]).mean()


def restricted(temperature):
    p = softmax(NEW.old_logits / temperature)
    q = softmax(NEW.logits[:, :OLD] / temperature)
    return temperature**2 * kl(p, q).mean()


def over_all():
    """With the zeros of new classes, as 0 log 0 = 0."""
    p = softmax(REPLAYED.old_logits)
    return kl(p, softmax(REPLAYED.logits)[:, :OLD]).mean()


def every_class():
    targets = 1 / (1 + np.exp(-NEW.old_logits))
    new = np.eye(CLASSES)[NEW.labels][:, OLD:]
    whole = np.concatenate([targets, new], -1)
    return bce(whole, NEW.logits).sum(-1).mean()


def balanced():
    """As if each image had the weight of one over its class's count."""
    new = ce(NEW.labels, NEW.head_logits).mean()
    replayed = ce(REPLAYED.labels, REPLAYED.head_logits).mean()
    return 3 / 5 * replayed + 2 / 5 * new


def distance():
    both = [
        np.linalg.norm((v.features - v.old_features) @ KERNEL, axis=-1) ** 2
        for v in (NEW, REPLAYED)
    ]
    return np.concatenate(both).mean()


def new_ce():
    return ce(NEW.labels, NEW.logits).mean()


ORACLES = {
    "finetune": {"new": new_ce},
    "lwf": {"new": local, "distillation": lambda: restricted(2.0)},
    "lwf_mc": {"new": every_class},
    "replay": {
        "replayed": over_all,
        "new": new_ce,
        "distillation": lambda: restricted(1.0),
    },
    "abd": {"local": local, "balance": balanced, "distillation": distance},
}


@pytest.mark.parametrize("name", METHODS)
def test_the_terms_of_a_method(name):
    found = {term.name: float(term(STEP)) for term in method(name)}
    expected = {key: oracle() for key, oracle in ORACLES[name].items()}
    assert found == pytest.approx(expected, rel=1e-5)


def test_weights_and_settings():
    terms = method("lwf", distillation=0.25, temperature=4.0)
    assert [term.weight for term in terms] == [1.0, 0.25]
    assert float(terms[1](STEP)) == pytest.approx(restricted(4.0), rel=1e-5)
    assert terms[1].identity() != method("lwf")[1].identity()
    assert [term.weight for term in method("abd")] == [1.0, 1.0, 0.2]
    names = {term.equation for name in METHODS for term in method(name)}
    identities = {
        tuple(term.identity()[:1]) for name in METHODS for term in method(name)
    }
    assert len(names) == len(identities)
    needing = {n for n in METHODS if any(t.replays for t in method(n))}
    assert needing == {"replay", "abd"}


def test_unchanged_logits_are_no_divergence():
    logits = np.concatenate([NEW.old_logits, np.full((4, 2), 9.0)], -1)
    found = losses.divergence(NEW.old_logits, logits, 2.0)
    np.testing.assert_allclose(found, np.zeros(4), atol=1e-6)
    assert (
        (losses.divergence_over_all(NEW.old_logits, logits) > 1).numpy().all()
    )


def test_features_with_places():
    old, new = RANDOM.normal(size=(2, 2, 3, 5, FEATURES))
    expected = (((new - old) @ KERNEL) ** 2).sum(-1).mean((1, 2))
    found = losses.feature_distance(KERNEL, old, new)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_binary_cross_entropies_are_finite():
    x = tf.constant([[200.0, -200.0, 200.0]])
    found = losses.binary_cross_entropies(
        np.array([2]), tf.constant([[200.0, 200.0]]), x
    )
    assert float(found[0]) == pytest.approx(200)


def one_class():
    """The step of two new classes as one of one: class 4 is left out."""
    new = NEW._replace(
        labels=np.full(4, OLD),
        logits=tf.Variable(NEW.logits[:, : OLD + 1]),
        head_logits=tf.Variable(NEW.head_logits[:, : OLD + 1]),
    )
    old = REPLAYED._replace(
        logits=REPLAYED.logits[:, : OLD + 1],
        head_logits=REPLAYED.head_logits[:, : OLD + 1],
    )
    return Step(new, old, KERNEL)


@pytest.mark.parametrize("name", METHODS)
def test_a_term_says_whether_it_teaches_a_class_that_comes_alone(name):
    """By whether the logits of the new class have a gradient."""
    for term in method(name):
        step = one_class()
        with tf.GradientTape() as tape:
            value = term(step)
        given = [step.new.logits, step.new.head_logits]
        gradients = [g for g in tape.gradient(value, given) if g is not None]
        taught = any(np.any(g[:, OLD:]) for g in gradients)
        assert taught == (term.teaches == 1), term.name


def test_what_nothing_teaches_is_refused_and_what_others_teach_is_named():
    for name in METHODS:
        require_teaching(method(name), 2)
        if name not in ("lwf", "abd"):
            require_teaching(method(name), 1)
    for terms in (method("lwf"), method("abd", balance=0)):
        with pytest.raises(ValueError, match="Teach two or more.*1 new class"):
            require_teaching(terms, 1)
    with pytest.warns(UserWarning, match=r"the terms \['local'\] are 0"):
        require_teaching(method("abd"), 1)
    require_teaching(method("abd", local=0), 1)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="one of .*'abd'.*name='ewc'"):
        method("ewc")
    with pytest.raises(TypeError, match="abd.*'new'"):
        method("abd", new=1.0)
    with pytest.raises(ValueError, match="not negative. Received: local=-1"):
        method("abd", local=-1.0)
