"""The web app: Streamlit pages over :mod:`cfbd_core`; no SQL and no numerics in here."""
