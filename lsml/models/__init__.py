"""Networks: input layers, encoder, decoder, head, and the files they are saved in."""
