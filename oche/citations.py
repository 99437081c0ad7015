"""The papers behind the parts, as BibTeX: what `oche cite` prints of exactly the parts that a run has used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

BIBTEX: dict[str, str] = {
    "darts": """@inproceedings{liu2019darts,
  title={{DARTS}: Differentiable Architecture Search},
  author={Liu, Hanxiao and Simonyan, Karen and Yang, Yiming},
  booktitle={International Conference on Learning Representations},
  year={2019}
}""",
    "sp-darts": """@article{zhang2023spdarts,
  title={Robustifying {DARTS} by Eliminating Information Bypass Leakage via Explicit Sparse Regularization},
  author={Zhang, Jiuling and Ding, Zhiming},
  journal={arXiv preprint arXiv:2306.06858},
  year={2023}
}""",
    "drnas": """@inproceedings{chen2021drnas,
  title={{DrNAS}: Dirichlet Neural Architecture Search},
  author={Chen, Xiangning and Wang, Ruochen and Cheng, Minhao and Tang, Xiaocheng and Hsieh, Cho-Jui},
  booktitle={International Conference on Learning Representations},
  year={2021}
}""",
    "pc-darts": """@inproceedings{xu2020pcdarts,
  title={{PC-DARTS}: Partial Channel Connections for Memory-Efficient Architecture Search},
  author={Xu, Yuhui and Xie, Lingxi and Zhang, Xiaopeng and Chen, Xin and Qi, Guo-Jun and Tian, Qi and Xiong, Hongkai},
  booktitle={International Conference on Learning Representations},
  year={2020}
}""",
    "net2net": """@inproceedings{chen2016net2net,
  title={{Net2Net}: Accelerating Learning via Knowledge Transfer},
  author={Chen, Tianqi and Goodfellow, Ian and Shlens, Jonathon},
  booktitle={International Conference on Learning Representations},
  year={2016}
}""",
    "wang-2021": """@mastersthesis{wang2021towards,
  title={Towards efficient, effective, and robust Neural Architecture Search methods},
  author={Wang, Ruochen},
  school={University of California, Los Angeles},
  year={2021}
}""",
    "darts-pt": """@inproceedings{wang2021rethinking,
  title={Rethinking Architecture Selection in Differentiable {NAS}},
  author={Wang, Ruochen and Cheng, Minhao and Chen, Xiangning and Tang, Xiaocheng and Hsieh, Cho-Jui},
  booktitle={International Conference on Learning Representations},
  year={2021}
}""",
    "sgas": """@inproceedings{li2020sgas,
  title={{SGAS}: Sequential Greedy Architecture Search},
  author={Li, Guohao and Qian, Guocheng and Delgadillo, Itzel C. and M{\"u}ller, Matthias and Thabet, Ali
          and Ghanem, Bernard},
  booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year={2020}
}""",
    "amended": """@article{bi2019stabilizing,
  title={Stabilizing {DARTS} with Amended Gradient Estimation on Architectural Parameters},
  author={Bi, Kaifeng and Hu, Changping and Xie, Lingxi and Chen, Xin and Wei, Longhui and Tian, Qi},
  journal={arXiv preprint arXiv:1910.11831},
  year={2019}
}""",
    "allegro": """@article{jin2024enhanced,
  title={Enhanced Differentiable Architecture Search Based on Asymptotic Regularization},
  author={Jin, Cong and Huang, Jinjie and Chen, Yuanjian and Gong, Yuqing},
  journal={Computers, Materials \\& Continua},
  volume={78},
  number={2},
  year={2024},
  doi={10.32604/cmc.2023.047489}
}""",
    "sdarts": """@inproceedings{chen2020stabilizing,
  title={Stabilizing Differentiable Architecture Search via Perturbation-based Regularization},
  author={Chen, Xiangning and Hsieh, Cho-Jui},
  booktitle={International Conference on Machine Learning},
  year={2020}
}""",
    "idarts": """@article{wang2023idarts,
  title={{iDARTS}: Improving {DARTS} by Node Normalization and Decorrelation Discretization},
  author={Wang, Huiqun and Yang, Ruijie and Huang, Di and Wang, Yunhong},
  journal={IEEE Transactions on Neural Networks and Learning Systems},
  volume={34},
  number={4},
  pages={1945--1957},
  year={2023}
}""",
    "rank-nosh": """@inproceedings{wang2021ranknosh,
  title={{RANK-NOSH}: Efficient Predictor-Based Architecture Search via Non-Uniform Successive Halving},
  author={Wang, Ruochen and Chen, Xiangning and Cheng, Minhao and Tang, Xiaocheng and Hsieh, Cho-Jui},
  booktitle={International Conference on Computer Vision},
  year={2021}
}""",
    "gates": """@inproceedings{ning2020generic,
  title={A Generic Graph-based Neural Architecture Encoding Scheme for Predictor-based {NAS}},
  author={Ning, Xuefei and Zheng, Yin and Zhao, Tianchen and Wang, Yu and Yang, Huazhong},
  booktitle={European Conference on Computer Vision},
  year={2020}
}""",
    "halving": """@inproceedings{jamieson2016nonstochastic,
  title={Non-stochastic Best Arm Identification and Hyperparameter Optimization},
  author={Jamieson, Kevin and Talwalkar, Ameet},
  booktitle={International Conference on Artificial Intelligence and Statistics},
  year={2016}
}""",
    "random-search": """@inproceedings{li2019random,
  title={Random Search and Reproducibility for Neural Architecture Search},
  author={Li, Liam and Talwalkar, Ameet},
  booktitle={Conference on Uncertainty in Artificial Intelligence},
  year={2019}
}""",
    "evolution": """@inproceedings{real2019regularized,
  title={Regularized Evolution for Image Classifier Architecture Search},
  author={Real, Esteban and Aggarwal, Alok and Huang, Yanping and Le, Quoc V.},
  booktitle={AAAI Conference on Artificial Intelligence},
  year={2019}
}""",
    "local-search": """@inproceedings{white2021exploring,
  title={Exploring the Loss Landscape in Neural Architecture Search},
  author={White, Colin and Nolen, Sam and Savani, Yash},
  booktitle={Conference on Uncertainty in Artificial Intelligence},
  year={2021}
}""",
    "zero-cost": """@inproceedings{abdelfattah2021zerocost,
  title={Zero-Cost Proxies for Lightweight {NAS}},
  author={Abdelfattah, Mohamed S. and Mehrotra, Abhinav and Dudziak, Lukasz and Lane, Nicholas D.},
  booktitle={International Conference on Learning Representations},
  year={2021}
}""",
    "synflow": """@inproceedings{tanaka2020pruning,
  title={Pruning neural networks without any data by iteratively conserving synaptic flow},
  author={Tanaka, Hidenori and Kunin, Daniel and Yamins, Daniel L. K. and Ganguli, Surya},
  booktitle={Advances in Neural Information Processing Systems},
  year={2020}
}""",
    "naswot": """@inproceedings{mellor2021neural,
  title={Neural Architecture Search without Training},
  author={Mellor, Joe and Turner, Jack and Storkey, Amos and Crowley, Elliot J.},
  booktitle={International Conference on Machine Learning},
  year={2021}
}""",
    "rdarts": """@inproceedings{zela2020understanding,
  title={Understanding and Robustifying Differentiable Architecture Search},
  author={Zela, Arber and Elsken, Thomas and Saikia, Tonmoy and Marrakchi, Yassine and Brox, Thomas and Hutter, Frank},
  booktitle={International Conference on Learning Representations},
  year={2020}
}""",
    "nasbench201": """@inproceedings{dong2020nasbench201,
  title={{NAS-Bench-201}: Extending the Scope of Reproducible Neural Architecture Search},
  author={Dong, Xuanyi and Yang, Yi},
  booktitle={International Conference on Learning Representations},
  year={2020}
}""",
}
"""By the short name under which parts and spaces cite them."""


SPACES: dict[str, str] = {
    "darts": "darts",
    "rdarts": "rdarts",
    "idarts": "idarts",
    "sepskip": "amended",
    "allegro": "allegro",
    "nasbench201": "nasbench201",
    "bench125": "nasbench201",
    "recurrent": "darts",
}
"""How the names of the spaces of a paper begin, and the paper."""


def parts_of(part: object) -> Iterator[Any]:
    """A part and the parts in it, each before those within."""
    if is_dataclass(part):
        yield part
        for field in fields(part):
            yield from parts_of(getattr(part, field.name))
    elif isinstance(part, tuple):
        for item in part:
            yield from parts_of(item)


def cited(part: object) -> Iterator[str]:
    """The short names of the papers of a part and of the parts in it, each perhaps more than once."""
    for inner in parts_of(part):
        yield from getattr(inner, "CITES", ())


def cited_by_space(name: str) -> list[str]:
    """The short names of the papers of the space with this name; none for a user's own."""
    return [paper for start, paper in SPACES.items() if name.startswith(start)]


def brought(part: object) -> dict[str, str]:
    """BibTeX entries that parts of other packages bring along, as `BIBTEX`, by short name."""
    return {name: entry for inner in parts_of(part) for name, entry in getattr(inner, "BIBTEX", {}).items()}


def bibliography(*parts: object) -> dict[str, str]:
    """BibTeX entries, by short name, of the papers of some parts, in the order in which they are met."""
    return entries((name for part in parts for name in cited(part)), brought(parts))


def entries(names: Iterable[str], further: Mapping[str, str] | None = None) -> dict[str, str]:
    """BibTeX entries by short name, each once.

    Args:
        names: the short names.
        further: entries beside ours. A name without an entry is left out: a package need not have one.
    """
    known = {**(further or {}), **BIBTEX}
    return {name: known[name] for name in dict.fromkeys(names) if name in known}
