"""Settings: defaults < user file < project files < environment < options of one call. The only reader of ``os.environ``.

User file: ``$CLAW_HOME/settings.json`` (default ``~/.claw/settings.json``). Project files: ``.claw/settings.json`` and
``.claw/settings.local.json`` in the workspace. A project file may only tighten (``ask`` and ``deny`` rules, the modes
``plan`` and ``dontAsk``) and choose a model: everything else in it is ignored with a notice, because a repository must
not grant itself rights or send a key to another server.
"""
