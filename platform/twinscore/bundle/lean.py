"""Import XGBoost without scikit-learn, for processes that only score; knows nothing of bundles.

XGBoost imports scikit-learn, where it is installed, for wrappers that no scoring process uses. Measured with
xgboost 3.2: 4.0 s of CPU and 207 MB with it, 0.8 s and 78 MB without.
"""

from __future__ import annotations

import sys

__all__ = ["import_xgboost_lean"]


def import_xgboost_lean() -> None:
    """Import XGBoost now, with scikit-learn hidden from it; only for worker processes that are ours.

    Its scikit-learn wrappers (`XGBClassifier` ...) do not work in this process afterwards; scikit-learn itself does.
    """
    if "xgboost" in sys.modules or "sklearn" in sys.modules:
        return
    # None in sys.modules makes an import raise ImportError, which XGBoost is ready for.
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        import xgboost  # noqa: F401 - imported for what stays in sys.modules
    finally:
        del sys.modules["sklearn"]
