"""The composition root: builds each verb from the settings. It has one module per verb."""
