"""Generation by CTranslate2 (the extra `ctranslate2`): models written for it, and asked through it."""
