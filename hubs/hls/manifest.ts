/**
 * The files that the Model Download microservice takes for its types, pinned: what is in git by commit and blob, and what
 * Open Model Zoo describes by the digest there.
 */
import type { ManifestFile, ManifestModel } from '../manifest.js';

const ECG = 'a4f5d8d092848beaa81911dbc1c67428f095d131';
const MTTS = '89ffe818e1701ebcc156d4193657258e506eb781';
const RAW = 'https://raw.githubusercontent.com';

const ecg = (name: string, blob: string, size?: number): ManifestFile => ({
  path: name,
  url: `${RAW}/Einse57/OpenVINO_sample/${ECG}/ai-ecg-master/${name}`,
  ...(size === undefined ? {} : { size }),
  digest: { algorithm: 'git-sha1', hex: blob },
});

export const MODELS: Readonly<Record<string, ManifestModel>> = {
  '3d-pose': {
    // The release of Open Model Zoo whose storage it lies in.
    revision: '2022.1',
    files: [
      {
        path: 'human-pose-estimation-3d.tar.gz',
        url: 'https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2022.1/human-pose-estimation-3d-0001/human-pose-estimation-3d.tar.gz',
        size: 18_421_831,
        digest: {
          algorithm: 'sha384',
          hex: '14d1b70eb2d4102969b29c7716cbcdf9d1acd35839e044d2e62d69fbce4b98aa06cb954bb703d411cf991ffd809c6ea9',
        },
        unpack: { format: 'tar.gz' },
      },
    ],
    metadata: {
      license: 'apache-2.0',
      task: 'human_pose_estimation',
      library: 'pytorch',
      page: 'https://github.com/openvinotoolkit/open_model_zoo/tree/2022.1.0/models/public/human-pose-estimation-3d-0001',
      recipe: {
        refused:
          'its weights are loaded by the Python package that comes with them, which modeldl does not run',
        hint: 'export it to ONNX in a Python of your own, with `PoseEstimationWithMobileNet` of `model/with_mobilenet.py`, then run `modeldl convert ./FILE.onnx`',
      },
    },
  },
  rppg: {
    revision: MTTS,
    files: [
      {
        path: 'mtts_can.hdf5',
        url: `${RAW}/xliucs/MTTS-CAN/${MTTS}/mtts_can.hdf5`,
        digest: { algorithm: 'git-sha1', hex: '1cc083d5a7d4465acf658df004b5f8652abea634' },
      },
    ],
    metadata: {
      license: 'mit',
      library: 'keras',
      page: 'https://github.com/xliucs/MTTS-CAN',
      recipe: {
        refused: 'its layers are the Python code of its authors, which modeldl does not run',
        hint: 'save it as a SavedModel of TensorFlow in a Python of your own, with the layers `TSM` and `Attention_mask` of its repository, then run `modeldl convert ./FOLDER`',
      },
    },
  },
  'ai-ecg': {
    revision: ECG,
    files: [
      ecg('ecg_8960_ir10_fp16.xml', 'ff07db092b84ba456dc959b06bc6e35b064edab2', 310_493),
      ecg('ecg_8960_ir10_fp16.bin', 'dbcc7e5fbd7ccc053a66b8aaf0e12ce4ba61bb76'),
      ecg('ecg_17920_ir10_fp16.xml', 'fc409cbf48d210cbe399a268fd00c5cd727405f3', 310_767),
      ecg('ecg_17920_ir10_fp16.bin', 'f32099c569d1e342f48f1d348cfd67cb10765859'),
    ],
    metadata: {
      library: 'openvino',
      page: `https://github.com/Einse57/OpenVINO_sample/tree/${ECG}/ai-ecg-master`,
    },
  },
};
