"""RQ-VAE, an autoencoder whose latent is quantized level by level (`genrec sids --method rqvae`)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "sids", method="rqvae")
