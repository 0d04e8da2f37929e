"""C3D once more, in PyTorch's own layers: as the published network is drawn, and Caffe's and Chainer's pools."""

import torch
from torch import nn


class C3D(nn.Module):
    """Eight convolutions, five pools, three dense layers; names are those of Caffe's network."""

    def __init__(self):
        super().__init__()
        self.conv1a = nn.Conv3d(3, 64, 3, padding=1)
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.conv2a = nn.Conv3d(64, 128, 3, padding=1)
        self.pool2 = nn.MaxPool3d(2)
        self.conv3a = nn.Conv3d(128, 256, 3, padding=1)
        self.conv3b = nn.Conv3d(256, 256, 3, padding=1)
        self.pool3 = nn.MaxPool3d(2)
        self.conv4a = nn.Conv3d(256, 512, 3, padding=1)
        self.conv4b = nn.Conv3d(512, 512, 3, padding=1)
        self.pool4 = nn.MaxPool3d(2)
        self.conv5a = nn.Conv3d(512, 512, 3, padding=1)
        self.conv5b = nn.Conv3d(512, 512, 3, padding=1)
        self.pool5 = nn.MaxPool3d(2, ceil_mode=True)
        self.fc6 = nn.Linear(8192, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 101)

    def maps(self, x):
        """(N, 3, F, H, W) -> (N, 512, F / 16, H / 32, W / 32)."""
        x = self.pool1(self.conv1a(x).relu())
        x = self.pool2(self.conv2a(x).relu())
        x = self.pool3(self.conv3b(self.conv3a(x).relu()).relu())
        x = self.pool4(self.conv4b(self.conv4a(x).relu()).relu())
        return self.pool5(self.conv5b(self.conv5a(x).relu()).relu())

    def head(self, x):
        """(N, 512, 1, 4, 4) -> (N, 101)."""
        return self.fc8(self.fc7(self.fc6(x.flatten(1)).relu()).relu())

    def forward(self, x):
        """(N, 3, 16, 112, 112) -> (N, 101)."""
        return self.head(self.maps(x))


def network(tensors):
    """With the weights of a file, which must be all of them; its mean is not the network's."""
    found = C3D()
    found.load_state_dict({name: value for name, value in tensors.items() if name != "mean"})
    return found.eval().requires_grad_(False)


def seen(films, mean, name):
    """What the network is shown of films (N, 16, H, W, 3) uint8, red first, as each publisher prepares them.

    Args:
      films: a tensor.
      mean: (3, 16, 128, 171), blue first.
      name: "tgan2", "tgan" or "caffe".
    """
    x = films.permute(0, 4, 1, 2, 3).float() / 127.5 - 1  # as a generator has it
    count, frames = x.shape[0], x.shape[2]
    x = x.transpose(1, 2).flatten(0, 1)
    if name == "tgan2":
        x = nn.functional.interpolate(128 * x, (112, 112), mode="bilinear", align_corners=True)
        volume = mean[:, :, 8:120, 8:120]
        x = x.reshape(count, frames, 3, 112, 112).transpose(1, 2)
        return x.flip(1) + (128 - volume)
    if name == "tgan":
        x = nn.functional.interpolate(128 * x + 128, (128, 128), mode="bicubic", align_corners=False)
        x = x.reshape(count, frames, 3, 128, 128).transpose(1, 2).flip(1)
        return (x - mean[..., 21:149])[..., 8:120, 8:120]
    x = nn.functional.interpolate((x + 1) * 127.5, (128, 171), mode="bilinear", align_corners=False)
    x = x.reshape(count, frames, 3, 128, 171).transpose(1, 2).flip(1)
    return (x - mean)[..., 8:120, 29:141]


def probabilities(logits):
    """(N, 101) float64."""
    return torch.softmax(torch.as_tensor(logits).double(), 1).numpy()
