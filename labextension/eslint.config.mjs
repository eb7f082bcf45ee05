import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  eslint.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname }
    },
    rules: {
      // Untrusted text is written with textContent only.
      'no-restricted-properties': [
        'error',
        { property: 'innerHTML', message: 'Use textContent or append().' },
        { property: 'outerHTML', message: 'Use textContent or append().' },
        { property: 'insertAdjacentHTML', message: 'Use textContent or append().' }
      ],
      // Lumino signals take a method and its object: signal.connect(this.onChanged, this).
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { ignoreRestSiblings: true }],
      'no-console': ['error', { allow: ['warn'] }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }]
    }
  },
  { files: ['*.mjs'], ...tseslint.configs.disableTypeChecked }
);
