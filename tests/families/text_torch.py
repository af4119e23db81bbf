"""Families that read sequences, in PyTorch as its tutorials write them. Each function gives a trained model.

Tokens are int64, as `nn.Embedding` wants them.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.families import data
from tests.families.training_torch import fit

UNITS = 32
DIGITS = 10
START = 10  # the token that begins every answer of the sequence to sequence model


class LstmClassifier(nn.Module):
    """Embedding, LSTM, and a decision from its last hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(data.WORDS, 24, padding_idx=0)
        self.lstm = nn.LSTM(24, UNITS, batch_first=True)
        self.fc = nn.Linear(UNITS, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        _, (hidden, _) = self.lstm(self.embedding(tokens))
        return self.fc(hidden[-1])


class BidirectionalClassifier(nn.Module):
    """Two bidirectional LSTM layers, and a decision from both directions' last hidden states."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(data.WORDS, 24, padding_idx=0)
        self.rnn = nn.LSTM(24, 16, num_layers=2, bidirectional=True, batch_first=True, dropout=0.2)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(2 * 16, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        _, (hidden, _) = self.rnn(self.dropout(self.embedding(tokens)))
        return self.fc(self.dropout(torch.cat((hidden[-2], hidden[-1]), dim=1)))


class GruClassifier(nn.Module):
    """Embedding, GRU, and a decision from its last output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(data.WORDS, 24)
        self.gru = nn.GRU(24, UNITS, batch_first=True)
        self.fc = nn.Linear(UNITS, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        output, _ = self.gru(self.embedding(tokens))
        return torch.sigmoid(self.fc(output[:, -1]))


class TransformerClassifier(nn.Module):
    """nn.TransformerEncoder over learnt positions; `mask` is true where there is a word."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(data.WORDS, UNITS, padding_idx=0)
        self.position = nn.Parameter(0.1 * torch.randn(1, data.REVIEW_LENGTH, UNITS))
        layer = nn.TransformerEncoderLayer(UNITS, 2, 64, dropout=0.1, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(UNITS, 1)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.encoder(self.embedding(tokens) + self.position, src_key_padding_mask=~mask)
        weight = mask.unsqueeze(-1).float()
        return self.fc((x * weight).sum(dim=1) / weight.sum(dim=1))


class Encoder(nn.Module):
    """Reads a progression's first terms."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(DIGITS, 8)
        self.lstm = nn.LSTM(8, UNITS, batch_first=True)

    def forward(self, question: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _, (hidden, cell) = self.lstm(self.embedding(question))
        return hidden[0], cell[0]


class DecoderStep(nn.Module):
    """One step of a decoder: a token and two states in, and out again."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(DIGITS + 1, 8)
        self.cell = nn.LSTMCell(8, UNITS)
        self.fc = nn.Linear(UNITS, DIGITS)

    def forward(
        self, token: torch.Tensor, state_h: torch.Tensor, state_c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        next_h, next_c = self.cell(self.embedding(token.squeeze(1)), (state_h, state_c))
        return functional.softmax(self.fc(next_h), dim=-1), next_h, next_c


class Seq2Seq(nn.Module):
    """Both, as they are trained: the decoder is told the right terms so far (n, 4), and gives the next, (n, 4, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), DecoderStep()

    def forward(self, question: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        state_h, state_c = self.encoder(question)
        steps = []
        for token in told.split(1, dim=1):
            probabilities, state_h, state_c = self.decoder(token, state_h, state_c)
            steps.append(probabilities)
        return torch.stack(steps, dim=1)


def embedding_lstm() -> nn.Module:
    return _taught(LstmClassifier())


def bidirectional_lstm() -> nn.Module:
    return _taught(BidirectionalClassifier())


def gru() -> nn.Module:
    tokens, good = data.reviews(2500)
    wanted = good[:, None].astype(np.float32)
    return fit(GruClassifier(), [tokens], [wanted], functional.binary_cross_entropy, epochs=2, speed=5e-3)


def transformer_encoder() -> nn.Module:
    tokens, good = data.reviews(2500, padded="behind")
    wanted = good[:, None].astype(np.float32)
    loss = functional.binary_cross_entropy_with_logits
    return fit(TransformerClassifier(), [tokens, tokens != 0], [wanted], loss, epochs=2, speed=2e-3)


def seq2seq_step() -> nn.Module:
    asked, wanted = data.progressions(4000)
    told = np.concatenate([np.full((len(wanted), 1), START, np.int32), wanted[:, :-1]], axis=1)
    whole = Seq2Seq()
    fit(whole, [asked, told], [wanted.astype(np.int64)], _negative_log_likelihood, epochs=2, speed=1e-2)
    return whole.decoder.eval()


def _taught(model: nn.Module) -> nn.Module:
    tokens, good = data.reviews(2500)
    wanted = good[:, None].astype(np.float32)
    return fit(model, [tokens], [wanted], functional.binary_cross_entropy_with_logits, epochs=2, speed=5e-3)


def _negative_log_likelihood(probabilities: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return functional.nll_loss(probabilities.clamp_min(1e-7).log().transpose(1, 2), wanted)
