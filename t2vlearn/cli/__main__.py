"""What `python -m t2vlearn.cli` runs, and so `accelerate launch -m t2vlearn.cli`."""

from t2vlearn.cli import main

if __name__ == "__main__":
    main()
