"""`python -m lora_edu`: fetch what the chapters use, train an adapter on texts of one's own, apply it to others."""

from .command_line import main

if __name__ == "__main__":
    main()
