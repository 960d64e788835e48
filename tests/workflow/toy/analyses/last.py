"""Last value over first."""


def analyse(experiments):
    """Ratio per run, by rate and seed."""
    runs = experiments["decays"]
    value = runs["value"].drop_vars("step")
    ratio = value.isel(step=-1) / value.isel(step=0)
    ratio.attrs = {"long_name": "last over first value", "units": "1"}
    return ratio.to_dataset(name="ratio")
